"""The console: server-rendered pages at `/`, a client of the API's operations in the same process.

A page reads and changes only by operations of the API, which it calls with the API key of its session: so the scopes,
the restriction to accounts, the validation and the problems are those of the API.
"""
