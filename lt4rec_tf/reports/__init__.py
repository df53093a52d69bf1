"""What a run shows: tables, pictures, TensorBoard."""
