"""What every handler must do: run by pytest over those that are found, or by `rescind handlers test NAME` over one."""
