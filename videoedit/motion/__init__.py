"""Optical flow: its arithmetic, its estimators and their cache."""
