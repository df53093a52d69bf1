"""Avazu_x1: clicks on mobile advertisements of Avazu, ten days, as BARS splits them."""

from __future__ import annotations

from typing import ClassVar

import tensorflow_datasets as tfds

from lt4rec_tf.data.public.archives import Column, Statistics
from lt4rec_tf.data.public.builder import SplitFilesBuilder

COLUMNS = (
    Column("label", "whole", "label: the advertisement was clicked, 0 or 1"),
    *(Column(f"feat_{n}", "text", "a categorical feature") for n in range(1, 23)),
)
STATISTICS = {
    # github.com/reczoo/BARS, ranking/ctr/DCNv2/DCNv2_avazu_x1: samples and positives of its log.
    "default": Statistics(
        rows=28_300_276 + 4_042_897 + 8_085_794,
        click_share=(4_953_382 + 678_699 + 1_232_985) / 40_428_967,
    )
}
ITEM = None  # the files name no advertisement


class Builder(SplitFilesBuilder):
    """Reads impressions; each split has a file of its own."""

    columns, folder = COLUMNS, "Avazu_x1"
    homepage = "https://github.com/reczoo/Datasets"
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name="default", description="Mobile advertisements of Avazu.")
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Download Avazu_x1.zip from https://huggingface.co/datasets/reczoo/Avazu_x1 and unpack it "
        "so that manual_dir/Avazu_x1/ holds train.csv, valid.csv and test.csv."
    )
