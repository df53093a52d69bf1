"""Users with their items, in the layout and splits of LightGCN: Gowalla, Yelp2018, Amazon-Book."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from lt4rec_tf.data.public.builder import Examples, PublicBuilder
from lt4rec_tf.data.public.interactions import Interactions, read_split

PAGE = "https://github.com/gusye1234/LightGCN-PyTorch"


@dataclass(frozen=True)
class Published:
    """Published counts of a set: users, items, pairs of train and test."""

    users: int
    items: int
    train: int
    test: int


# Source: He et al. (arXiv 2002.02126), Table 2; Gowalla's pairs by split as its files have them.
STATISTICS = {"gowalla": Published(29_858, 40_981, 810_128, 217_242)}
FOLDERS = {"gowalla": "gowalla", "yelp2018": "yelp2018", "amazon_book": "amazon-book"}


class Builder(PublicBuilder):
    """Reads users with their items, in the splits of the authors."""

    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name="gowalla", description="Places checked in at."),
        tfds.core.BuilderConfig(name="yelp2018", description="Businesses reviewed."),
        tfds.core.BuilderConfig(name="amazon_book", description="Books reviewed."),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"Get train.txt and test.txt from data/gowalla (yelp2018, amazon-book) of {PAGE} and put "
        "them, plain or as .txt.gz, into manual_dir/gowalla (yelp2018, amazon-book)."
    )

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "user": tfds.features.Scalar(np.int64, doc="the user, numbered from 0"),
            "items": tfds.features.Sequence(
                tfds.features.Scalar(np.int64), doc="what the user met, rising, numbered from 0"
            ),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), homepage=PAGE
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        (folder,) = self._manual_files(dl_manager, FOLDERS[self.builder_config.name])
        split = read_split(Path(folder))
        return {
            "train": self._generate_examples(split.train),
            "test": self._generate_examples(split.test),
        }

    def _generate_examples(self, pairs: Interactions) -> Examples:
        for user in np.flatnonzero(pairs.counts):
            items = pairs.item_ids[pairs.first[user] : pairs.first[user + 1]]
            yield int(user), {"user": user, "items": items}
