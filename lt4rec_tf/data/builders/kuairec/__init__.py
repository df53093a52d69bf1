"""kuairec dataset."""
