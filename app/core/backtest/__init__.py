"""Backtests: what a policy would have decided while the log was written. Pure."""
