"""Builders of TensorFlow Datasets, one folder a data set.

`lt4rec_tf.data.public.datasets` lists and prepares them.
"""
