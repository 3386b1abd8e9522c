"""What runs beside the web server: lanes send, timers fire. They do I/O and decide nothing."""
