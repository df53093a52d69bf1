"""KuaiRand: logs of Kuaishou's feed, April and May 2022."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from etils import epath

from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.public import archives, archives_beam
from lt4rec_tf.data.public.archives import Statistics
from lt4rec_tf.data.public.builder import Examples, PublicBuilder, manual_folder
from lt4rec_tf.data.public.kuairand_columns import LOG, USER, VIDEO

COLUMNS = (*LOG, *USER, *VIDEO)
RECORD = "https://zenodo.org/records/10439422"
STATISTICS = {
    "pure": Statistics(rows=1_436_609, users=27_285, items=7_551),
    "1k": Statistics(rows=11_713_045, users=1_000, items=4_369_953),
    "27k": Statistics(rows=322_278_385, users=27_285, items=32_038_725),
}
ITEM = "video_id"
VALIDATION_FROM, TEST_FROM = 20220503, 20220506  # of 8 April to 8 May: three days each
RANDOM = "random_exposure"
_ALWAYS = 99991231


@dataclass(eq=False, kw_only=True)
class KuaiRandConfig(tfds.core.BuilderConfig):
    """A version of KuaiRand.

    Attributes:
        archive: Name of its archive, without .tar.gz, and of the folder inside.
        md5: Of the archive.
        by_beam: True if its tables are too large for one machine's memory.
    """

    archive: str
    md5: str
    by_beam: bool = False


class Builder(PublicBuilder):
    """Joins each impression with the features of its user and its video."""

    columns = COLUMNS
    homepage = "https://kuairand.com"
    BUILDER_CONFIGS: ClassVar = [
        KuaiRandConfig(
            name="pure",
            description="The logs of 7,583 videos.",
            archive="KuaiRand-Pure",
            md5="0820331067a3784d9691136f772b35a7",
        ),
        KuaiRandConfig(
            name="1k",
            description="All logs of 1,000 users.",
            archive="KuaiRand-1K",
            md5="6b0b9c8222d67fcd4c676218edca3f1f",
            by_beam=True,
        ),
        KuaiRandConfig(
            name="27k",
            description="All logs of 27,285 users.",
            archive="KuaiRand-27K",
            md5="3e3c799a24e2d23a4d2c757fbf9adf59",
            by_beam=True,
        ),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"The archive comes from {RECORD} by itself where manual_dir does not hold it. To use one "
        "that you have, unpack it there: manual_dir/KuaiRand-Pure/data/*.csv (or KuaiRand-1K, "
        "KuaiRand-27K)."
    )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        folder = _folder(dl_manager, self.builder_config)
        standard = sorted(folder.glob("log_standard_*.csv"))
        if not standard:
            raise DataError(
                f"{folder}: found no log_standard_*.csv.\n{self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
            )
        random = sorted(folder.glob("log_random_*.csv"))

        name = self.builder_config.name
        users = self._need(folder / f"user_features_{name}.csv")
        videos = self._need(folder / f"video_features_basic_{name}.csv")

        days = {
            "train": (0, VALIDATION_FROM),
            "validation": (VALIDATION_FROM, TEST_FROM),
            "test": (TEST_FROM, _ALWAYS),
        }
        splits = {
            split: self._generate_examples(standard, users, videos, *first_and_end)
            for split, first_and_end in days.items()
        }
        if random:
            splits[RANDOM] = self._generate_examples(random, users, videos, 0, _ALWAYS)
        return splits

    def _generate_examples(
        self, logs: list[epath.Path], users: epath.Path, videos: epath.Path, first: int, end: int
    ) -> Any:
        """Makes the impressions of days in [first, end): an iterator, or a pipeline."""
        generate = _by_beam if self.builder_config.by_beam else _in_memory
        return generate(logs, users, videos, first, end)


def _folder(manager: tfds.download.DownloadManager, config: KuaiRandConfig) -> epath.Path:
    """Returns the folder of the CSV files, which are downloaded unless they were got by hand."""
    folder = manual_folder(manager)
    if folder is not None and (folder / config.archive / "data").exists():
        return folder / config.archive / "data"

    archive = manager.download(f"{RECORD}/files/{config.archive}.tar.gz")
    archives.check_md5(archive, config.md5)
    return epath.Path(manager.extract(archive)) / config.archive / "data"


def _in_memory(
    logs: Iterable[epath.Path], users: epath.Path, videos: epath.Path, first: int, end: int
) -> Examples:
    tables = {
        "user_id": archives.rows_by(users, "user_id"),
        "video_id": archives.rows_by(videos, "video_id"),
    }
    for path in logs:
        for number, row in archives.read_rows(path):
            where = f"{path.name}: row {number}"
            if first <= archives.day_of(row, where) < end:
                yield where, archives.example(COLUMNS, archives.joined(row, tables), where)


def _by_beam(
    logs: Iterable[epath.Path], users: epath.Path, videos: epath.Path, first: int, end: int
) -> Any:
    beam = archives_beam.beam()

    @beam.ptransform_fn
    def join(pipeline: Any) -> Any:
        rows = pipeline | "read logs" >> archives_beam.rows(logs)
        rows |= "choose days" >> beam.Filter(
            lambda row: first <= archives.day_of(row[1], row[0]) < end
        )

        for key, table in (("user_id", users), ("video_id", videos)):
            side = pipeline | f"read {table.name}" >> archives_beam.rows([table])
            rows = archives_beam.left_join(rows, side, key)

        return rows | "to examples" >> beam.MapTuple(_keyed_example)

    return join()


def _keyed_example(where: str, row: dict[str, str]) -> tuple[str, dict[str, Any]]:
    return where, archives.example(COLUMNS, row, where)
