"""The Python API: runs, models and served versions as objects; `lt4rec_tf` names what is public."""
