"""Paths into JSON that operators write: JMESPath, checked when it is saved, searched under a budget."""
