"""Expressions in CEL over a documented view of an order. Pure."""
