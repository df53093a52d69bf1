"""Rules that balance the gradients or losses of several tasks, one file a paper."""
