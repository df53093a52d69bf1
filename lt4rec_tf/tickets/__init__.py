"""Lottery tickets: masks, pruning criteria, the search of Algorithm 1."""
