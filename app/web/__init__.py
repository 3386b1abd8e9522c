"""The web side: webhooks in, the API, health and metrics."""
