"""TFDS's own checks: registered, documented, prepared, read back, no row in two splits."""

import tensorflow_datasets as tfds

from lt4rec_tf.data.public.builders.ali_express.ali_express_dataset_builder import Builder


class AliExpressTest(tfds.testing.DatasetBuilderTestCase):
    """On rows made up for the test, in dummy_data."""

    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ("es",)  # test_data_sets.py reads another, alike
    SPLITS = {"train": 26, "validation": 4, "test": 6}
