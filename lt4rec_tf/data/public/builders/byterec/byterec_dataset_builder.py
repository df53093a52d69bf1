"""byterec: short videos that were finished and liked (ICME 2019 challenge of ByteDance)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from etils import epath

from lt4rec_tf.data.public import archives
from lt4rec_tf.data.public.archives import Column, Statistics
from lt4rec_tf.data.public.builder import Examples, PublicBuilder

COLUMNS = (
    Column("uid", "whole", "who watched the video"),
    Column("user_city", "whole", "the user's city; -1 where unknown"),
    Column("item_id", "whole", "the video"),
    Column("author_id", "whole", "who made the video"),
    Column("item_city", "whole", "the video's city; -1 where unknown"),
    Column("channel", "whole", "where in the app"),
    Column("finish", "whole", "label: watched to the end, 0 or 1"),
    Column("like", "whole", "label: the like button was hit, 0 or 1"),
    Column("music_id", "whole", "the background music; -1 where unknown"),
    Column("device", "whole", "the user's device"),
    Column("time", "whole", "when, in seconds from an unknown moment"),
    Column("duration_time", "whole", "length of the video in seconds"),
)
FILES = {"track1": "final_track1_train.txt", "track2": "final_track2_train.txt"}
STATISTICS = {  # as participants of the challenge counted the training files
    "track1": Statistics(rows=275_855_531, users=636_281, items=27_342_248),
    "track2": Statistics(rows=19_622_340, users=70_711, items=3_687_157),
}
ITEM = "item_id"
TRAIN_SHARE, VALIDATION_SHARE = 0.8, 0.1  # of the rows, by time


class Builder(PublicBuilder):
    """Reads views, split by time."""

    columns = COLUMNS
    homepage = "https://biendata.com/competition/icmechallenge2019"
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name="track1", description="The large track."),
        tfds.core.BuilderConfig(name="track2", description="The small track."),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Get final_track1_train.txt or final_track2_train.txt of the ICME 2019 short video "
        "understanding challenge (https://biendata.com/competition/icmechallenge2019) and put it, "
        "plain or gzip, into manual_dir."
    )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        (path,) = self._manual_files(dl_manager, FILES[self.builder_config.name])
        times = (row["time"] for _, row in read(path))
        between = archives.times_of_splits(times, TRAIN_SHARE, VALIDATION_SHARE, str(path))
        return {split: self._generate_examples(path, *ends) for split, ends in between.items()}

    def _generate_examples(self, path: epath.Path, start: float, end: float) -> Examples:
        """Yields the views at times in [start, end)."""
        for number, row in read(path):
            if start <= row["time"] < end:
                yield number, row


def read(path: epath.Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Reads the views of a file without a header; tab between values.

    Raises:
        DataError: A row cannot be read.
    """
    names = [column.name for column in COLUMNS]
    for number, row in archives.read_rows(path, names, "\t"):
        yield number, archives.example(COLUMNS, row, f"{path.name}: row {number}")
