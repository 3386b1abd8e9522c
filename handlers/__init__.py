"""One folder for each provider. A new provider is a new folder, and no edit anywhere else."""
