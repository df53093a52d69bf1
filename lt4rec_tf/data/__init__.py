"""From log files to batches: parsing, features, hybrid labels, splits, the simulated feed."""
