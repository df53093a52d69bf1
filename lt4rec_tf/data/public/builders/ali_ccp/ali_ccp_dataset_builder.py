"""Ali-CCP: clicks and purchases on Taobao's front page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow_datasets as tfds
from etils import epath

from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.public import archives, archives_beam
from lt4rec_tf.data.public.archives import Column, Statistics
from lt4rec_tf.data.public.builder import PublicBuilder

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
_WEIGHTED = (*_LISTS, *_CROSSED)  # fields whose ids have weights other than 1
FIELDS = (*_USER, *_ITEM, *_LISTS, *_CROSSED, *_CONTEXT)
COLUMNS = (
    Column("sample_id", "text", "the impression"),
    Column("click", "whole", "label: the product was clicked, 0 or 1"),
    Column("purchase", "whole", "label: the product was bought, 0 or 1"),
    Column("common_feat_id", "text", "the user at that moment"),
    *(Column(field, "text", text) for field, text in (_USER | _ITEM | _CONTEXT).items()),
    *(Column(field, "texts", text) for field, text in (_LISTS | _CROSSED).items()),
    *(Column(f"{field}_value", "numbers", f"weights of {field}") for field in _WEIGHTED),
)
SKELETON = ("sample_id", "click", "purchase", "common_feat_id", "feat_num", "feat_list")
COMMON = ("common_feat_id", "feat_num", "feat_list")
STATISTICS = {"": Statistics()}
ITEM = "item"


class Builder(PublicBuilder):
    """Joins impressions with what is common to those of one user, by Apache Beam."""

    columns = COLUMNS
    homepage = "https://tianchi.aliyun.com/dataset/408"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Download sample_train.tar.gz and sample_test.tar.gz from "
        "https://tianchi.aliyun.com/dataset/408 and unpack them in manual_dir, which then holds "
        "sample_skeleton_train.csv, common_features_train.csv, sample_skeleton_test.csv and "
        "common_features_test.csv."
    )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        train_skeleton, train_common, test_skeleton, test_common = self._manual_files(
            dl_manager,
            "sample_skeleton_train.csv",
            "common_features_train.csv",
            "sample_skeleton_test.csv",
            "common_features_test.csv",
        )
        return {
            "train": self._generate_examples(train_skeleton, train_common, (False,)),
            "validation": self._generate_examples(train_skeleton, train_common, (True,)),
            "test": self._generate_examples(test_skeleton, test_common, (False, True)),
        }

    def _generate_examples(
        self, skeleton: epath.Path, common: epath.Path, held_out: tuple[bool, ...]
    ) -> Any:
        beam = archives_beam.beam()

        @beam.ptransform_fn
        def join(pipeline: Any) -> Any:
            rows = pipeline | "read samples" >> archives_beam.rows([skeleton], names=SKELETON)
            rows |= "choose samples" >> beam.Filter(
                lambda row: (
                    is_possible(row[1])
                    and archives.is_held_out(row[1]["common_feat_id"]) in held_out
                )
            )

            side = pipeline | "read users" >> archives_beam.rows([common], names=COMMON)
            side |= "name lists apart" >> beam.MapTuple(_common_list)
            rows = archives_beam.left_join(rows, side, "common_feat_id")
            return rows | "to examples" >> beam.MapTuple(example)

        return join()


def is_possible(row: Mapping[str, str]) -> bool:
    """Returns whether a sample can have happened: nothing is bought that was not clicked."""
    return not (row["click"].strip() == "0" and row["purchase"].strip() == "1")


def _common_list(where: str, row: dict[str, str]) -> archives_beam.Row:
    return where, {"common_feat_id": row["common_feat_id"], "common_list": row["feat_list"]}


def example(where: str, row: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """Makes an example of a sample, with the fields of its own list and of its user's.

    Raises:
        DataError: A list holds what is no triple of field, id and weight, or a label is no number.
    """
    ids: dict[str, list[str]] = {field: [] for field in FIELDS}
    weights: dict[str, list[float]] = {field: [] for field in FIELDS}
    for name in ("common_list", "feat_list"):
        for field, value, weight in triples(row.get(name, ""), f"{where}: {name}"):
            if field in ids:
                ids[field].append(value)
                weights[field].append(weight)

    values: dict[str, Any] = archives.example(COLUMNS[:4], row, where)
    for field in FIELDS:
        values[field] = ids[field][0] if ids[field] else ""
    for field in _WEIGHTED:
        values[field] = ids[field]
        values[f"{field}_value"] = weights[field]
    return where, values


def triples(text: str, where: str) -> list[tuple[str, str, float]]:
    r"""Splits a list of features into (field, id, weight).

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
