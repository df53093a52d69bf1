"""One run on disk: its folder, logs, ticket searches, joint training, results, publishing."""
