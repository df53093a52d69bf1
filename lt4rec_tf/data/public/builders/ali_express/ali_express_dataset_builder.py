"""AliExpress: clicks and purchases in the search of a shop, in four countries."""

from __future__ import annotations

from typing import Any, ClassVar

import tensorflow_datasets as tfds
from etils import epath

from lt4rec_tf.data.public import archives
from lt4rec_tf.data.public.archives import Column, Statistics
from lt4rec_tf.data.public.builder import Examples, PublicBuilder

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


class Builder(PublicBuilder):
    """Reads impressions; test has a file of its own, validation is whole requests of train."""

    columns = COLUMNS
    homepage = "https://tianchi.aliyun.com/dataset/74690"
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name=name, description=f"Searches in {country}.")
        for name, country in COUNTRIES.items()
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Download AliExpress_NL.zip (ES, FR, US) from "
        "https://tianchi.aliyun.com/dataset/74690 and unpack it in manual_dir: "
        "manual_dir/AliExpress_NL/ then holds train.csv and test.csv, plain or gzip."
    )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        folder = f"AliExpress_{self.builder_config.name.upper()}"
        train, test = self._manual_files(dl_manager, f"{folder}/train.csv", f"{folder}/test.csv")
        return {
            "train": self._generate_examples(train, (False,)),
            "validation": self._generate_examples(train, (True,)),
            "test": self._generate_examples(test, (False, True)),
        }

    def _generate_examples(self, path: epath.Path, held_out: tuple[bool, ...]) -> Examples:
        for number, row in archives.read_rows(path):
            example = archives.example(COLUMNS, row, f"{path.name}: row {number}")
            if archives.is_held_out(example["search_id"]) in held_out:
                yield number, example
