"""Tools for trying Rescind out and for writing handlers."""
