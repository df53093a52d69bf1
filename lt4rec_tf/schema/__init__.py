"""What logs hold: features, labels and tasks, read from a TOML file and written to one."""
