"""Criteo_x1: clicks on display advertisements, a week of Criteo's, as BARS splits them."""

from __future__ import annotations

from typing import ClassVar

import tensorflow_datasets as tfds

from lt4rec_tf.data.public.archives import Column, Statistics
from lt4rec_tf.data.public.builder import SplitFilesBuilder

COLUMNS = (
    Column("label", "whole", "label: the advertisement was clicked, 0 or 1"),
    *(Column(f"I{n}", "number", "a numeric feature, undisclosed") for n in range(1, 14)),
    *(Column(f"C{n}", "text", "a categorical feature, undisclosed") for n in range(1, 27)),
)
STATISTICS = {
    # github.com/reczoo/BARS, ranking/ctr/DCNv2/DCNv2_criteo_x1: samples and positives of its log.
    "default": Statistics(
        rows=33_003_326 + 8_250_124 + 4_587_167,
        click_share=(8_456_369 + 2_114_300 + 1_174_769) / 45_840_617,
    )
}
ITEM = None  # the files name no advertisement


class Builder(SplitFilesBuilder):
    """Reads impressions; each split has a file of its own."""

    columns, folder = COLUMNS, "Criteo_x1"
    homepage = "https://github.com/reczoo/Datasets"
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name="default", description="Display advertisements of Criteo.")
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Download Criteo_x1.zip from https://huggingface.co/datasets/reczoo/Criteo_x1 and unpack "
        "it so that manual_dir/Criteo_x1/ holds train.csv, valid.csv and test.csv."
    )
