"""Converts logs of any format to TFRecord shards."""
