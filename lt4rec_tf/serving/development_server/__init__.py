"""A server for development that follows TensorFlow Serving's REST protocol."""
