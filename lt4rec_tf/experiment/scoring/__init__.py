"""Batch scoring: logs of any size to files of predictions, part by part."""
