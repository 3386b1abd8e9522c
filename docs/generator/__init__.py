"""What writes the generated pages and parts of the documentation."""
