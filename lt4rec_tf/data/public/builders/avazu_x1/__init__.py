"""avazu_x1 dataset."""
