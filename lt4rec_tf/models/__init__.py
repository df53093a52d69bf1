"""Ranking networks, one file a paper."""
