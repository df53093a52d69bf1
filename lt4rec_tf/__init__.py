"""CTR and CVR in one shared network, each task wearing its own lottery ticket (LT4REC)."""

__version__ = "0.1.0"
