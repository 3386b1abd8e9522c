"""What operators configure: settings, resources, secrets, and the registry of handlers."""
