"""Numbers in texts, by their value."""
