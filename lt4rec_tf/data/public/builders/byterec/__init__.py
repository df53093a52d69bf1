"""byterec dataset."""
