"""The one door: what happens is recorded and applied in one transaction."""
