"""The `rescind` command. Every module but `main` holds the commands of one noun, or what they share."""
