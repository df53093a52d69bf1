"""ali_ccp dataset."""
