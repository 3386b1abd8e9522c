"""Messages to subscribers: their types, who receives which, and what becomes one."""
