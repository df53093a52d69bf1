"""Many runs compared: models, seeds, tuning, one table with intervals."""
