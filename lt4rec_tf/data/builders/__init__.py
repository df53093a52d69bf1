"""Builders of TensorFlow Datasets, one folder a data set; `lt4rec_tf.data.datasets` finds them."""
