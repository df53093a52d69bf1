"""The rows of KuaiRand-27K that carry a like or a hate."""

from __future__ import annotations

from typing import Any

import tensorflow_datasets as tfds
from etils import epath

from lt4rec_tf.data.input.splits import SPLITS
from lt4rec_tf.data.public import archives
from lt4rec_tf.data.public.archives import Column, Statistics
from lt4rec_tf.data.public.builder import Examples, PublicBuilder
from lt4rec_tf.data.public.kuairand_columns import LOG, USER, VIDEO

_LEFT_OUT_UPSTREAM = ("is_like", "is_hate", "profile_stay_time", "is_rand", "tab")
COLUMNS = (
    *(column for column in LOG if column.name not in _LEFT_OUT_UPSTREAM),
    Column("label", "whole", "1 for a like, 0 for a hate"),
    Column("timestamp", "text", "when, such as 2022-04-10 08:59:09"),
    *USER,
    *VIDEO,
)
STATISTICS = {"": Statistics(rows=41_828, users=664, items=9_359)}
ITEM = "video_id"
VALIDATION_FROM, TEST_FROM = 20220419, 20220420  # of 8 to 21 April


class Builder(PublicBuilder):
    """Joins each impression with the features of its user and its video."""

    columns = COLUMNS
    homepage = "https://kuairand.com"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put log.tsv.gz, user_features_pure.csv.gz and video_features_basic_pure.csv.gz into "
        "manual_dir: the rows of KuaiRand-27K (https://zenodo.org/records/10439422) that carry a "
        "like or a hate, and two tables of KuaiRand-Pure."
    )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        paths = self._manual_files(
            dl_manager,
            "log.tsv.gz",
            "user_features_pure.csv.gz",
            "video_features_basic_pure.csv.gz",
        )
        return {split: self._generate_examples(split, *paths) for split in SPLITS}

    def _generate_examples(
        self, split: str, log: epath.Path, users: epath.Path, videos: epath.Path
    ) -> Examples:
        tables = {
            "user_id": archives.rows_by(users, "user_id"),
            "video_id": archives.rows_by(videos, "video_id"),
        }
        for number, row in archives.read_rows(log, delimiter="\t"):
            where = f"{log.name}: row {number}"
            day = archives.day_of(row, where)
            if archives.split_of_day(day, VALIDATION_FROM, TEST_FROM) == split:
                yield number, archives.example(COLUMNS, archives.joined(row, tables), where)
