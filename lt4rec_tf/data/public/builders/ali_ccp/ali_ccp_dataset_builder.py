"""Ali-CCP: clicks and purchases on Taobao's front page."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from etils import epath

from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.public import archives, archives_beam
from lt4rec_tf.data.public.archives import Column, Statistics

# Source: the data set's page (tianchi.aliyun.com/dataset/408), its table of fields.
_USER = {
    "101": "the user",
    "121": "category of the user's profile",
    "122": "category of the user's group",
    "124": "the user's gender",
    "125": "the user's age",
    "126": "first level of the user's spending",
    "127": "second level of the user's spending",
    "128": "whether the user works",
    "129": "the user's geography",
}
_ITEM = {
    "205": "the product",
    "206": "the product's category",
    "207": "the product's shop",
    "216": "the product's brand",
}
_LISTS = {
    "109_14": "categories the user met",
    "110_14": "shops the user met",
    "127_14": "brands the user met",
    "150_14": "intentions the user had",
    "210": "intentions the product serves",
}
_CROSSED = {
    "508": "109_14 crossed with 206",
    "509": "110_14 crossed with 207",
    "702": "127_14 crossed with 216",
    "853": "150_14 crossed with 210",
}
_CONTEXT = {"301": "where on the page"}
_WEIGHED = (*_LISTS, *_CROSSED)  # fields of which the values say more than 1
FIELDS = (*_USER, *_ITEM, *_LISTS, *_CROSSED, *_CONTEXT)
COLUMNS = (
    Column("sample_id", "text", "the impression"),
    Column("click", "whole", "label: the product was clicked, 0 or 1"),
    Column("purchase", "whole", "label: the product was bought, 0 or 1"),
    Column("common_feat_id", "text", "the user at that moment"),
    *(Column(field, "text", text) for field, text in (_USER | _ITEM | _CONTEXT).items()),
    *(Column(field, "texts", text) for field, text in (_LISTS | _CROSSED).items()),
    *(Column(f"{field}_value", "numbers", f"weights of {field}") for field in _WEIGHED),
)
SKELETON = ("sample_id", "click", "purchase", "common_feat_id", "feat_num", "feat_list")
COMMON = ("common_feat_id", "feat_num", "feat_list")
STATISTICS = {"": Statistics()}
ITEM = "item"
VALIDATION_SHARE = 10  # one user's moment of so many validates


class Builder(tfds.core.GeneratorBasedBuilder):
    """Joins impressions with what is common to those of one user, by Apache Beam."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Download sample_train.tar.gz and sample_test.tar.gz from "
        "https://tianchi.aliyun.com/dataset/408 and unpack them in manual_dir, which then holds "
        "sample_skeleton_train.csv, common_features_train.csv, sample_skeleton_test.csv and "
        "common_features_test.csv."
    )

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=archives.features(COLUMNS), homepage="https://tianchi.aliyun.com/dataset/408"
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        folder, instructions = (
            archives.manual_folder(dl_manager, self),
            self.MANUAL_DOWNLOAD_INSTRUCTIONS,
        )

        def tables(part: str) -> tuple[epath.Path, epath.Path]:
            return (
                archives.need(folder / f"sample_skeleton_{part}.csv", instructions),
                archives.need(folder / f"common_features_{part}.csv", instructions),
            )

        train, test = tables("train"), tables("test")
        return {
            "train": self._generate_examples(*train, (False,)),
            "validation": self._generate_examples(*train, (True,)),
            "test": self._generate_examples(*test, (False, True)),
        }

    def _generate_examples(
        self, skeleton: epath.Path, common: epath.Path, validates: tuple[bool, ...]
    ) -> Any:
        beam = archives_beam.beam()

        @beam.ptransform_fn
        def join(pipeline: Any) -> Any:
            rows = pipeline | "read samples" >> archives_beam.rows([skeleton], names=SKELETON)
            rows |= "choose samples" >> beam.Filter(
                lambda row: is_possible(row[1]) and _validates(row[1]) in validates
            )
            side = pipeline | "read users" >> archives_beam.rows([common], names=COMMON)
            side |= "name lists apart" >> beam.MapTuple(_common_list)
            rows = archives_beam.left_join(rows, side, "common_feat_id")
            return rows | "to examples" >> beam.MapTuple(example)

        return join()


def is_possible(row: Mapping[str, str]) -> bool:
    """Whether a sample can have happened: nothing is bought that was not clicked."""
    return not (row["click"].strip() == "0" and row["purchase"].strip() == "1")


def _validates(row: Mapping[str, str]) -> bool:
    return zlib.crc32(row["common_feat_id"].encode()) % VALIDATION_SHARE == 0


def _common_list(place: str, row: dict[str, str]) -> archives_beam.Row:
    return place, {"common_feat_id": row["common_feat_id"], "common_list": row["feat_list"]}


def example(place: str, row: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """A sample with the fields of its own and of its user's list.

    Raises:
        DataError: A list holds what is no triple of field, id and weight, or a label is no number.
    """
    found: dict[str, list[tuple[str, float]]] = {field: [] for field in FIELDS}
    for name in ("common_list", "feat_list"):
        for field, value, weight in triples(row.get(name, ""), f"{place}: {name}"):
            if field in found:
                found[field].append((value, weight))
    plain = archives.example(COLUMNS[:4], row, place)
    single = {field: found[field][0][0] if found[field] else "" for field in FIELDS}
    lists = {field: [value for value, _ in found[field]] for field in _WEIGHED}
    weights = {f"{field}_value": [weight for _, weight in found[field]] for field in _WEIGHED}
    return place, plain | single | lists | weights


def triples(text: str, where: str) -> list[tuple[str, str, float]]:
    r"""Takes a list of features apart.

    >>> triples("205\x029021\x031.0\x01508\x0277\x030.5", "row 1")
    [('205', '9021', 1.0), ('508', '77', 0.5)]

    Raises:
        DataError: A part is no triple, or its weight no number.
    """
    parts = []
    for part in filter(None, text.split("\x01")):
        field, _, rest = part.partition("\x02")
        value, _, weight = rest.partition("\x03")
        try:
            parts.append((field, value, float(weight)))
        except ValueError:
            raise DataError(
                f"{where}: found {part!r}, expected field, id and weight between "
                r"\x02 and \x03"
            ) from None
    return parts
