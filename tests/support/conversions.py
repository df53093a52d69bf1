"""Conversions of logs, and what their shards hold."""

from __future__ import annotations

import json

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.convert import command as convert
from lt4rec_tf.data.input.pipeline import batches
from lt4rec_tf.data.input.splits import SPLITS, SplitRule
from lt4rec_tf.schema.reader import load_schema
from tests.support.feeds import opened


def run(files, output_dir, *flags):
    command = ["convert", "--processes=1", f"--files={files}", f"--output_dir={output_dir}"]
    return convert.main([*command, *flags])


def manifest_of(output_dir):
    return json.loads((output_dir / "manifest.json").read_text())


def quarantine_of(output_dir):
    text = (output_dir / "quarantine.tsv").read_text().splitlines()
    return [tuple(row.split("\t")) for row in text]


def records_of(output_dir):
    """The rows of all shards: by column its values, which may be none."""
    rows = []
    for shard in manifest_of(output_dir)["shards"]:
        path = output_dir / shard["name"]
        packing = "GZIP" if path.suffix == ".gz" else ""
        for record in tf.data.TFRecordDataset(str(path), packing).as_numpy_iterator():
            features = tf.train.Example.FromString(record).features.feature
            rows.append({name: values_of(features[name]) for name in sorted(features)})
    return rows


def assert_same_rows(made, folder, output, rule="time"):
    (direct, found), (read, found_again) = (
        all_rows(each, place, rule)
        for each, place in ((made, folder), (load_schema(output / "schema.toml"), output))
    )
    assert found == found_again
    assert all(direct.values())  # rows in every split
    tf.nest.map_structure(np.testing.assert_array_equal, direct, read)


def values_of(feature):
    kind = feature.WhichOneof("kind")
    return (kind.removesuffix("_list"), list(getattr(feature, kind).value))


def all_rows(made, folder, rule="time"):
    """By split all rows, and what the audit counted."""
    source, found = opened(made, folder, SplitRule(kind=rule))
    rows = {
        split: [
            tf.nest.map_structure(lambda value: value.numpy(), batch)
            for batch in batches(source, split, 4096)
        ]
        for split in SPLITS
    }
    return rows, (found.rows, found.unusable, found.feature_faults)
