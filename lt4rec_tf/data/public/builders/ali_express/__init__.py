"""ali_express dataset."""
