"""Exact metrics over whole splits."""
