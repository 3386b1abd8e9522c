"""What the processes of Rescind stand on: log, metrics, clocks, ids, and the HTTP client."""
