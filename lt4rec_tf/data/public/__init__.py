"""Public data sets: TensorFlow Datasets builders and what they share."""
