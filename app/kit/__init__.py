"""What handlers share. Pure."""
