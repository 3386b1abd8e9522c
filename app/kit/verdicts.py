"""Reasons of verdicts that mean the same at every provider."""

ALREADY_CANCELED = "already_canceled"
COMPLETED = "completed"
