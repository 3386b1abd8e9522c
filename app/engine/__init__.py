"""The engine: the ledger records and applies everything that happens, in one transaction."""
