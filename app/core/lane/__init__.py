"""When a lane may send: limits, retries, breaker, shared calls. Pure."""
