"""Models and weights: found, fetched, converted, loaded."""
