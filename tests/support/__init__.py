"""What several test files share: feeds, networks, trainings, commands, real rows."""
