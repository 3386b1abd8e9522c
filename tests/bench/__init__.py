"""Measurements, as ratios to comparators that the bench starts in the same run (`make bench`)."""
