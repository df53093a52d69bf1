"""Lottery tickets: masks, pruning, controls, Algorithm 1's search."""
