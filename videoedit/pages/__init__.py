"""Pages that a browser opens by itself: the report of a run, and what pages share."""
