"""Still pictures in and out, for other programs; they are made in `videoedit.media.images`."""

from videoedit.media.images import read_image, write_image

__all__ = ["read_image", "write_image"]
