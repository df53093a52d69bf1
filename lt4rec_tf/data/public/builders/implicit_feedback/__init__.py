"""implicit_feedback dataset."""
