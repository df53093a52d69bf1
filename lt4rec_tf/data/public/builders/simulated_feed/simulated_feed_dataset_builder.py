"""The simulated video feed as a data set of TensorFlow Datasets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from lt4rec_tf.data.simulator.feed import Feed
from lt4rec_tf.data.simulator.text import COLUMNS, TAG_SEPARATOR, impressions_to_csv
from lt4rec_tf.data.simulator.world import FeedSettings
from lt4rec_tf.data.simulator.writer import MODEL_VERSION

QUICKSTART_SEED = 2020  # the default of --simulate_seed


@dataclass(eq=False, kw_only=True)
class FeedConfig(tfds.core.BuilderConfig):
    """The settings of a feed.

    Attributes:
        settings: Of three days or more: one each for validation and test.
    """

    settings: FeedSettings = field(default_factory=FeedSettings)


def _config(name: str, rows: int) -> FeedConfig:
    settings = FeedSettings(rows=rows, seed=QUICKSTART_SEED)
    return FeedConfig(
        name=name,
        description=f"{rows} impressions over {settings.days} days.",
        settings=settings,
    )


def _text(description: str) -> tfds.features.Text:
    return tfds.features.Text(doc=description)


def _number(dtype: type, description: str, value_range: str) -> tfds.features.Scalar:
    doc = tfds.features.Documentation(desc=description, value_range=value_range)
    return tfds.features.Scalar(dtype, doc=doc)


def _features() -> tfds.features.FeaturesDict:
    """Describes the columns; their order is that of the simulator's own files."""
    features = {
        "impression_id": _text("d<day>i<running number of the day>; unique"),
        "user_id": _text("who was shown the video"),
        "video_id": _text("the video that was shown"),
        "publisher_id": _text("owner of the video"),
        "category": _text("kind of the video"),
        "tags": tfds.features.Sequence(
            tfds.features.Text(), doc="finer kinds of the video; none to three"
        ),
        "source_video_id": _text("the video that was watched before; -1 when there was none"),
        "position": _number(np.int64, "place in the request's list", "1 to 10"),
        "hour": _number(np.int64, "hour of the day", "0 to 23"),
        "day": _number(np.int64, "day of the log", "0 to 6"),
        "duration_s": _number(np.float32, "length of the video in seconds", "15 to 601"),
        "age_group": _number(np.int64, "the user's age; 0 when unknown", "0 to 7"),
        "device": _text("android, ios, tablet or tv"),
        "network": _text("wifi, 4g or 5g"),
        "cover_quality": _number(
            np.float32, "noisy observation of the cover's appeal", "mean 0, variance 1.25"
        ),
        "click": _number(np.int64, "label: the cover was clicked", "0 or 1"),
        "play_time_s": _number(
            np.float32,
            "label: seconds played, above duration_s for a video that was played on",
            "0 exactly where not clicked",
        ),
    }
    return tfds.features.FeaturesDict(features)


class Builder(tfds.core.GeneratorBasedBuilder):
    """Draws the impressions of a simulated feed, split by day."""

    # TFDS: the major version rises when the same rows would come out otherwise.
    VERSION = tfds.core.Version(f"{MODEL_VERSION}.0.0")
    RELEASE_NOTES: ClassVar = {f"{MODEL_VERSION}.0.0": "First release."}
    BUILDER_CONFIGS: ClassVar = [_config("quickstart", 120_000), _config("small", 7_000)]

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=_features(),
            homepage="https://arxiv.org/abs/2008.09872",  # where the marginals were published
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
        del dl_manager  # nothing is downloaded
        feed = Feed(self.builder_config.settings)
        last = feed.settings.days - 1
        return {
            "train": self._generate_examples(feed, range(last - 1)),
            "validation": self._generate_examples(feed, [last - 1]),
            "test": self._generate_examples(feed, [last]),
        }

    def _generate_examples(
        self, feed: Feed, days: Iterable[int]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for day in days:
            for impressions, _, outcomes in feed.blocks(day, 0, feed.rows_of_day(day)):
                # The simulator's own text, so that every format holds the same rounded values.
                text = impressions_to_csv(feed.world, day, impressions, outcomes).decode()
                for line in text.splitlines():
                    example = _example(line)
                    yield example["impression_id"], example


def _example(line: str) -> dict[str, Any]:
    """Reads the values of a line by column; the simulator writes no quotes."""
    example: dict[str, Any] = {}
    for (name, kind), text in zip(COLUMNS.items(), line.split(","), strict=True):
        example[name] = kind(text)
    example["tags"] = example["tags"].split(TAG_SEPARATOR) if example["tags"] else []
    return example
