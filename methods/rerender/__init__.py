"""Rerender-A-Video. Reserved: the method is not part of this version, and registers nothing."""
