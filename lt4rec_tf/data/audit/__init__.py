"""One pass over all logs before training: counts, bad rows, duplicates, drift."""
