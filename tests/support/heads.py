"""Schemas whose watch ratio has another head, with quantiles as an audit finds them."""

from __future__ import annotations

import dataclasses

import numpy as np

from lt4rec_tf.schema.heads import KINDS
from lt4rec_tf.schema.label_quantiles import LEVELS, LabelQuantiles, with_label_quantiles
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.variants import with_head
from tests.support.schemas import LENGTH, SMALL_SCHEMA

CURVES = [np.linspace(0, top, LEVELS + 1) ** 2 for top in (1.0, 1.0, 0.8)]
QUANTILES = LabelQuantiles(tuple(tuple(curve.tolist()) for curve in CURVES), (30.0,))
OTHERS = [kind for kind in KINDS if kind != "plain"]


def schema_with(tmp_path, kind):
    path = tmp_path / "schema.toml"
    path.write_text(SMALL_SCHEMA + LENGTH, encoding="utf-8")
    schema = load_schema(path)
    labels = [
        dataclasses.replace(label, duration="length") if label.kind == "ratio" else label
        for label in schema.labels
    ]
    schema = dataclasses.replace(schema, labels=tuple(labels))
    return with_label_quantiles(with_head(schema, kind), {"cvr": QUANTILES})
