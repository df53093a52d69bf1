"""The rows of KuaiRand-27K that carry a like or a hate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from etils import epath

from lt4rec_tf.data.input.splits import SPLITS
from lt4rec_tf.data.public import archives
from lt4rec_tf.data.public.archives import Column, Statistics
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
_DATE = next(column for column in COLUMNS if column.name == "date")


class Builder(tfds.core.GeneratorBasedBuilder):
    """Joins each impression with what is known of its user and its video."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put log.tsv.gz, user_features_pure.csv.gz and video_features_basic_pure.csv.gz into "
        "manual_dir: the rows of KuaiRand-27K (https://zenodo.org/records/10439422) that carry a "
        "like or a hate, and two tables of KuaiRand-Pure."
    )

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=archives.features(COLUMNS), homepage="https://kuairand.com"
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        folder = archives.manual_folder(dl_manager, self)
        paths = [
            archives.need(folder / name, self.MANUAL_DOWNLOAD_INSTRUCTIONS)
            for name in (
                "log.tsv.gz",
                "user_features_pure.csv.gz",
                "video_features_basic_pure.csv.gz",
            )
        ]
        return {split: self._generate_examples(split, *paths) for split in SPLITS}

    def _generate_examples(
        self, split: str, log: epath.Path, users: epath.Path, videos: epath.Path
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        of_users = archives.rows_by(users, "user_id")
        of_videos = archives.rows_by(videos, "video_id")
        for number, row in archives.read_rows(log, delimiter="\t"):
            place = f"{log.name}: row {number}"
            date = archives.value(_DATE, row, place)
            if archives.split_of_day(date, VALIDATION_FROM, TEST_FROM) == split:
                user, video = of_users.get(row["user_id"], {}), of_videos.get(row["video_id"], {})
                yield number, archives.example(COLUMNS, user | video | row, place)
