"""Daily training: a run that continues from an earlier one on new logs."""
