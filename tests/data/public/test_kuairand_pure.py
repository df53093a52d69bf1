"""KuaiRand-Pure's layout, made of real rows: files by their names, quoted CSV, more columns."""

from __future__ import annotations

import csv
import gzip
import shutil
from itertools import islice

import numpy as np

from lt4rec_tf.data.audit import audit
from lt4rec_tf.data.input.pipeline import batches
from lt4rec_tf.data.input.source import open_source
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.schema.reader import load_schema
from tests.support.paths import PROJECT, real_data

COLUMNS = """user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,
is_hate,long_view,play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,
is_rand,tab""".replace("\n", "").split(",")
TASKS = ["ctr", "long_view", "watch_time"]


def archive(folder):
    """KuaiRand-Pure/data with rows of the sample; returns these."""
    sample = real_data("kuairand_feedback_sample")
    with gzip.open(sample / "log.tsv.gz", "rt", newline="") as file:
        rows = [*islice(csv.DictReader(file, delimiter="\t"), 3_000)]
    for number, name in enumerate(("4_08_to_4_21", "4_22_to_5_08")):
        with (folder / f"log_standard_{name}_pure.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, restval=0, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows[number::2])
    shutil.copy(folder / "log_standard_4_08_to_4_21_pure.csv", folder / "log_random_pure.csv")
    for name in ("user_features_pure.csv", "video_features_basic_pure.csv"):
        (folder / name).write_bytes(gzip.decompress((sample / f"{name}.gz").read_bytes()))
    return rows


def test_the_archive_is_read_as_it_is(tmp_path):
    rows = archive(tmp_path)
    schema = load_schema(PROJECT / "configs" / "schemas" / "kuairand_pure.toml").with_tasks(TASKS)
    source = open_source(schema, tmp_path, SplitRule("time"))
    found = audit.audit(source)
    assert (found.rows, found.unusable) == (3_000, {})  # random exposure is not read
    assert found.join_misses["user_features_pure.csv"] == 0
    assert {name: split.rows for name, split in found.splits.items()} == {
        "train": 2_400, "validation": 300, "test": 300,
    }  # fmt: skip
    test = [*batches(audit.complete(source, found), "test", 4096)]
    seconds = np.sort(np.concatenate([batch["labels"]["watch_time"] for batch in test]))
    latest = sorted(rows, key=lambda row: int(row["time_ms"]))[-300:]
    expected = np.sort([int(row["play_time_ms"]) / 1000 for row in latest])
    np.testing.assert_allclose(seconds, expected, rtol=1e-6)


def test_features_and_labels_are_those_of_the_sample():
    folder = PROJECT / "configs" / "schemas"
    pure, sample = (load_schema(folder / f"kuairand_{name}.toml") for name in ("pure", "feedback"))
    assert pure.labels == sample.labels
    assert pure.tasks == sample.tasks
    assert [f.name for f in pure.features] == [f.name for f in sample.features]
    assert pure.features[1:] == sample.features[1:]  # more users
