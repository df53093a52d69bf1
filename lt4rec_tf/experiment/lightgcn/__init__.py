"""Tickets in LightGCN's embedding table, on implicit feedback."""
