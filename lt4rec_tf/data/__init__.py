"""From log files to batches; the audit, the simulated feed, public data sets."""
