"""Rescind: cancelability of orders at outside providers, and their cancellation."""

from importlib.metadata import version

__version__ = version("rescind")
