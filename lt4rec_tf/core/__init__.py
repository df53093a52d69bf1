"""Errors, atomic files, flags, TOML, progress, processes."""
