"""TFDS's own checks: registered, documented, prepared, read back, no row in two splits."""

import tensorflow_datasets as tfds

from lt4rec_tf.data.public.builders.avazu_x1.avazu_x1_dataset_builder import Builder


class AvazuX1Test(tfds.testing.DatasetBuilderTestCase):
    """On rows made up for the test, in dummy_data."""

    DATASET_CLASS = Builder
    SPLITS = {"train": 60, "validation": 20, "test": 20}
