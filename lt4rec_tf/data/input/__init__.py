"""From log files to batches: parsing, features, hybrid labels, splits."""
