"""Settings of a run: every flag, its checks, the fingerprint."""
