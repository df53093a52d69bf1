"""Tenrec: clicks, likes, shares and follows on two of Tencent's feeds of videos."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from etils import epath

from lt4rec_tf.data.input.splits import SPLITS
from lt4rec_tf.data.public import archives
from lt4rec_tf.data.public.archives import Column, Statistics
from lt4rec_tf.data.public.builder import Examples, PublicBuilder

_NONE = ("\\N",)  # how the files write that nothing is known
COLUMNS = (
    Column("user_id", "whole", "who was shown the video"),
    Column("item_id", "whole", "the video that was shown"),
    Column("click", "whole", "label: the video was clicked, 0 or 1"),
    Column("follow", "whole", "label: the author was followed, 0 or 1"),
    Column("like", "whole", "label: the like button was hit, 0 or 1"),
    Column("share", "whole", "label: the video was shared, 0 or 1"),
    Column("video_category", "whole", "0 or 1; -1 where unknown", absent=_NONE),
    Column("watching_times", "whole", "label: how many times the video was watched"),
    Column("gender", "whole", "the user's; 0 where unknown", missing=0, absent=_NONE),
    Column("age", "whole", "the user's age group; 0 where unknown", missing=0, absent=_NONE),
)
FILES = {"qk_video": "QK-video.csv", "qb_video": "QB-video.csv"}
STATISTICS = {
    "qk_video": Statistics(
        rows=493_458_970, users=5_022_750, items=3_753_436, click_share=142_321_193 / 493_458_970
    ),
    "qb_video": Statistics(
        rows=2_442_299, users=34_240, items=130_637, click_share=1_701_171 / 2_442_299
    ),
}
ITEM = "item_id"
HELD_OUT = 10  # the last tenth of a user's rows is test, the tenth before validation


class Builder(PublicBuilder):
    """Reads impressions; a user's last ones are held out."""

    columns = COLUMNS
    homepage = "https://tenrec0.github.io"
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name="qk_video", description="The feed of QQ Kandian."),
        tfds.core.BuilderConfig(name="qb_video", description="The feed of QQ Browser."),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Ask for Tenrec at https://tenrec0.github.io (CC BY-NC 4.0 and a licence agreement) and "
        "put QK-video.csv or QB-video.csv, plain or gzip, into manual_dir."
    )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        (path,) = self._manual_files(dl_manager, FILES[self.builder_config.name])
        rows_of = Counter(row["user_id"] for _, row in archives.read_rows(path))
        return {split: self._generate_examples(split, path, rows_of) for split in SPLITS}

    def _generate_examples(self, split: str, path: epath.Path, rows_of: Counter[str]) -> Examples:
        seen: Counter[str] = Counter()
        for number, row in archives.read_rows(path):
            user = row["user_id"]
            if split_of(seen[user], rows_of[user]) == split:
                yield number, archives.example(COLUMNS, row, f"{path.name}: row {number}")
            seen[user] += 1


def split_of(index: int, rows: int) -> str:
    """Returns the split of a user's row, by its index among the user's rows and their number.

    >>> [split_of(index, 20) for index in (0, 15, 16, 18)], split_of(8, 9)
    (['train', 'train', 'validation', 'test'], 'train')
    """
    held_out = rows // HELD_OUT
    if index >= rows - held_out:
        return "test"
    return "validation" if index >= rows - 2 * held_out else "train"
