"""TFDS's own checks: registered, documented, prepared, read back, no row in two splits."""

import tensorflow_datasets as tfds

from lt4rec_tf.data.public.builders.lt4rec_sample.lt4rec_sample_dataset_builder import Builder


class Lt4recSampleTest(tfds.testing.DatasetBuilderTestCase):
    """On rows made up for the test, in dummy_data."""

    DATASET_CLASS = Builder
    SPLITS = {"train": 14, "validation": 3, "test": 3}
