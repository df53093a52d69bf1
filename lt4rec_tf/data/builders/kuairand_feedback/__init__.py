"""kuairand_feedback dataset."""
