"""Queries outside of transactions, by subject."""
