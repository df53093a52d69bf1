"""Drafts a schema from logs."""
