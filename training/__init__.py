"""Training of the embedded miniature text-to-image model: ``python -m training --help``."""
