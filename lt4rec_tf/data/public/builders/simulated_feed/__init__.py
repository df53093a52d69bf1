"""simulated_feed dataset."""
