"""TFDS's own checks: registered, documented, prepared, read back, no row in two splits."""

import tensorflow_datasets as tfds

from lt4rec_tf.data.public.builders.kuairand.kuairand_dataset_builder import Builder


class KuairandTest(tfds.testing.DatasetBuilderTestCase):
    """On rows made up for the test, in dummy_data."""

    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = (
        "pure",
    )  # tests/data/public/test_data_sets.py has those by Beam
    SPLITS = {"train": 8, "validation": 2, "test": 3, "random_exposure": 2}
    SKIP_CHECKSUMS = True  # MD5 sums are published, not the SHA-256 that TFDS records
