"""Reads and writes log files: CSV, TFRecord, Parquet; raw values of columns."""
