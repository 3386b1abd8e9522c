"""Other receivers of webhooks, which `make bench-peers` measures beside Rescind."""
