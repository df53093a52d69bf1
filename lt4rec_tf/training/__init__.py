"""Losses, optimisers, the training loop, checkpoints."""
