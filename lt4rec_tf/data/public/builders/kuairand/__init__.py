"""kuairand dataset."""
