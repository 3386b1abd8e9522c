"""The store on PostgreSQL, which many nodes share."""
