"""tenrec dataset."""
