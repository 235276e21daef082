"""Run folders: what is planned, made, kept and told on the way."""
