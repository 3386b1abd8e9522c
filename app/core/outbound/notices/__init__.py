"""Notices to people: what a message says, and how each destination takes it."""
