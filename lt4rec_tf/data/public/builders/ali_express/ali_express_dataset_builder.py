"""AliExpress: clicks and purchases in the search of a shop, in four countries."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from etils import epath

from lt4rec_tf.data.public import archives
from lt4rec_tf.data.public.archives import Column, Statistics

COLUMNS = (
    Column("search_id", "text", "the request; all rows of one were shown together"),
    *(Column(f"categorical_{n}", "whole", "an encrypted feature") for n in range(1, 17)),
    *(Column(f"numerical_{n}", "number", "an encrypted feature") for n in range(1, 64)),
    Column("click", "whole", "label: the product was clicked, 0 or 1"),
    Column("conversion", "whole", "label: the product was bought, 0 or 1"),
)
COUNTRIES = {"nl": "the Netherlands", "es": "Spain", "fr": "France", "us": "the United States"}
STATISTICS = {name: Statistics() for name in COUNTRIES}
ITEM = None  # the files name no product
VALIDATION_SHARE = 10  # one request of so many validates


class Builder(tfds.core.GeneratorBasedBuilder):
    """Reads impressions; test is the file's own, validation whole requests of train."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name=name, description=f"Searches in {country}.")
        for name, country in COUNTRIES.items()
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Download AliExpress_NL.zip (ES, FR, US) from "
        "https://tianchi.aliyun.com/dataset/74690 and unpack it in manual_dir: "
        "manual_dir/AliExpress_NL/ then holds train.csv and test.csv, plain or gzip."
    )

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=archives.features(COLUMNS), homepage="https://tianchi.aliyun.com/dataset/74690"
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        country = self.builder_config.name.upper()
        folder = archives.manual_folder(dl_manager, self) / f"AliExpress_{country}"
        train, test = (
            archives.need(folder / f"{name}.csv", self.MANUAL_DOWNLOAD_INSTRUCTIONS)
            for name in ("train", "test")
        )
        return {
            "train": self._generate_examples(train, (False,)),
            "validation": self._generate_examples(train, (True,)),
            "test": self._generate_examples(test, (False, True)),
        }

    def _generate_examples(
        self, path: epath.Path, validates: tuple[bool, ...]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, row in archives.read_rows(path):
            example = archives.example(COLUMNS, row, f"{path.name}: row {number}")
            if _validates(example["search_id"]) in validates:
                yield number, example


def _validates(search_id: str) -> bool:
    return zlib.crc32(search_id.encode()) % VALIDATION_SHARE == 0
