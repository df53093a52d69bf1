"""lt4rec_sample dataset."""
