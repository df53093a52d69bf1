"""Tables, plots and TensorBoard."""
