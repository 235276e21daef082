"""Video, sound and pictures, in and out."""
