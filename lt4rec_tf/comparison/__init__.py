"""The comparison: many rows, several seeds, one table."""
