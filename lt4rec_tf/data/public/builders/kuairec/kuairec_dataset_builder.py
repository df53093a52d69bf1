"""KuaiRec 2.0: watch times of Kuaishou's feed, one part of them observed for nearly every pair."""

from __future__ import annotations

from typing import Any, ClassVar

import tensorflow_datasets as tfds
from etils import epath

from lt4rec_tf.data.input.splits import SPLITS
from lt4rec_tf.data.public import archives
from lt4rec_tf.data.public.archives import Column, Statistics
from lt4rec_tf.data.public.builder import Examples, PublicBuilder
from lt4rec_tf.data.public.kuairand_columns import USER

WATCHED = (
    Column("user_id", "whole", "who watched the video"),
    Column("video_id", "whole", "the video that was watched"),
    Column("play_duration", "whole", "label: milliseconds played"),
    Column("video_duration", "whole", "length of the video in milliseconds"),
    Column("time", "text", "when, such as 2020-07-05 00:08:23.438"),
    Column("date", "whole", "day, such as 20200705; -1 where unknown"),
    Column("timestamp", "number", "Unix time in seconds; NaN where unknown"),
    Column("watch_ratio", "number", "play_duration / video_duration, may exceed 1"),
)
FINISHED = Column("finished", "whole", "label: play_duration reaches video_duration, 0 or 1")
VIDEO = (
    Column("author_id", "whole", "who made the video"),
    Column("video_type", "text", "NORMAL or AD"),
    Column("upload_dt", "text", "day of the upload, such as 2020-07-04"),
    Column("upload_type", "text", "how it was uploaded"),
    Column("video_width", "number", "width in pixels"),
    Column("video_height", "number", "height in pixels"),
    Column("music_id", "whole", "the background music"),
    Column("video_tag_id", "whole", "the video's first tag"),
)
CATEGORIES = Column("feat", "wholes", "categories of the video, one to four of 31")
COLUMNS = (*WATCHED, FINISHED, *USER, *VIDEO, CATEGORIES)
_READ_COLUMNS = (*WATCHED, *USER, *VIDEO, CATEGORIES)
STATISTICS = {
    "big": Statistics(rows=12_530_806, users=7_176, items=10_728),
    "small": Statistics(rows=4_676_570, users=1_411, items=3_327),
}
ITEM = "video_id"
VALIDATION_FROM, TEST_FROM = 20200825, 20200831  # of 5 July to 5 September 2020


class Builder(PublicBuilder):
    """Joins each view with the features of its user and its video."""

    columns = COLUMNS
    homepage = "https://kuairec.com"
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name="big", description="7,176 users, sparse as feeds are."),
        tfds.core.BuilderConfig(name="small", description="1,411 users, nearly fully observed."),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Download KuaiRec.zip from https://kuairec.com (CC BY-SA 4.0) and unpack it in manual_dir: "
        "manual_dir/data/ then holds big_matrix.csv, small_matrix.csv, user_features.csv, "
        "item_categories.csv and item_daily_features.csv."
    )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        paths = self._manual_files(
            dl_manager,
            f"data/{self.builder_config.name}_matrix.csv",
            "data/user_features.csv",
            "data/item_categories.csv",
            "data/item_daily_features.csv",
        )
        return {split: self._generate_examples(split, *paths) for split in SPLITS}

    def _generate_examples(
        self,
        split: str,
        views: epath.Path,
        users: epath.Path,
        categories: epath.Path,
        daily: epath.Path,
    ) -> Examples:
        tables = {
            "user_id": archives.rows_by(users, "user_id"),
            "video_id": _videos(categories, daily),
        }
        for number, row in archives.read_rows(views):
            where = f"{views.name}: row {number}"
            # Views whose day is unknown have day -1, and train.
            day = archives.day_of(row, where)
            if archives.split_of_day(day, VALIDATION_FROM, TEST_FROM) == split:
                example = archives.example(_READ_COLUMNS, archives.joined(row, tables), where)
                finished = example["play_duration"] >= example["video_duration"] > 0
                yield number, example | {FINISHED.name: int(finished)}


def _videos(categories: epath.Path, daily: epath.Path) -> dict[str, dict[str, str]]:
    """Reads the features of videos; those that may change from day to day are of the first day."""
    rows_by_video: dict[str, dict[str, str]] = {}
    for _, row in archives.read_rows(daily):
        if row["video_id"] not in rows_by_video:
            rows_by_video[row["video_id"]] = {column.name: row[column.name] for column in VIDEO}
    for _, row in archives.read_rows(categories):
        rows_by_video.setdefault(row["video_id"], {})["feat"] = row["feat"].strip("[] ")
    return rows_by_video
