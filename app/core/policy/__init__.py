"""Policies: which orders to cancel, and when. Pure."""
