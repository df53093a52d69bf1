"""criteo_x1 dataset."""
