"""Rescind: cancelability of orders at outside providers, and their cancellation."""

__version__ = "0.1.0"
