"""TFDS's own checks: registered, documented, prepared, read back, no row in two splits."""

import tensorflow_datasets as tfds

from lt4rec_tf.data.public.builders.byterec.byterec_dataset_builder import Builder


class ByterecTest(tfds.testing.DatasetBuilderTestCase):
    """On rows made up for the test, in dummy_data."""

    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ("track1",)  # test_data_sets.py reads another, alike
    SPLITS = {"train": 16, "validation": 2, "test": 2}
