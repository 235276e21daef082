"""Folder layouts of clips and results, in and out."""
