"""Rows' weights: read from a column, in every format, and what the audit says of them."""

import numpy as np
import pytest

from lt4rec_tf.data.audit.description import describe
from lt4rec_tf.data.audit.findings import Audit
from lt4rec_tf.data.audit.marginals import count
from lt4rec_tf.data.input.pipeline import batches
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import SchemaError, needed_columns
from lt4rec_tf.schema.writer import to_toml
from tests.support.conversions import assert_same_rows, quarantine_of, run
from tests.support.feeds import COLUMNS, example, good_row, opened, schema, write_records

WEIGHTS = [("0", "0.5", "1", "2.25", "3e0")[number % 5] for number in range(40)]


def weighted_schema(folder, file_format="csv", glob=""):
    path = schema(folder, file_format, glob).path
    path.write_text('weight = "w"\n' + path.read_text())
    return load_schema(path)


def write_feed(folder, weights):
    rows = [good_row(number) for number in range(len(weights))]
    lines = [
        ",".join([*(row[name] for name in COLUMNS), w])
        for row, w in zip(rows, weights, strict=True)
    ]
    (folder / "a.csv").write_text("\n".join([",".join([*COLUMNS, "w"]), *lines]) + "\n")


def test_weights_come_with_the_batches(tmp_path):
    write_feed(tmp_path, WEIGHTS)
    source, _ = opened(weighted_schema(tmp_path), tmp_path)
    (batch,) = batches(source, "train", 50)
    clicked = np.arange(40) % 2
    expected = np.array(WEIGHTS, np.float32)
    np.testing.assert_array_equal(batch["weights"]["ctr"].numpy(), expected)
    np.testing.assert_array_equal(batch["weights"]["cvr"].numpy(), expected * clicked)
    np.testing.assert_array_equal(batch["labels"]["ctr"].numpy(), clicked)


def test_the_audit_counts_rows_and_weights_and_means_by_weight(tmp_path):
    write_feed(tmp_path, WEIGHTS)
    source, found = opened(weighted_schema(tmp_path), tmp_path, SplitRule("time", 2, 3))
    weights, clicked = np.array(WEIGHTS, float)[:20], np.arange(20) % 2
    counts = found.splits["train"]
    assert counts.rows == 20
    assert counts.tasks["ctr"].rows == np.count_nonzero(weights)
    assert counts.tasks["ctr"].weight == weights.sum() == 27.0
    mean = np.average(clicked, weights=weights)
    assert counts.tasks["ctr"].label_mean == pytest.approx(mean)
    assert counts.tasks["ctr"].label_deviation == pytest.approx(np.sqrt(mean * (1 - mean)))
    assert counts.tasks["cvr"].weight == (weights * clicked).sum()
    assert "ctr: 16 rows of weight 27, label mean" in describe(found)

    of_all = np.array(WEIGHTS, float)
    tasks = count(source).tasks
    assert tasks["ctr"]["rows"] == np.count_nonzero(of_all)
    assert tasks["ctr"]["label_mean"] == pytest.approx(
        np.average(np.arange(40) % 2, weights=of_all)
    )


def test_without_a_column_the_audit_says_nothing_of_weights(tmp_path):
    write_feed(tmp_path, WEIGHTS)
    _, found = opened(schema(tmp_path), tmp_path)
    assert found.splits["train"].tasks["ctr"].weight is None
    assert "of weight" not in describe(found)
    stored = found.to_json()
    for counts in stored["splits"].values():
        for numbers in counts["tasks"].values():
            del numbers["weight"]  # as in audits of earlier versions
    assert Audit.from_json(stored) == found


def test_a_weight_that_is_none_makes_a_row_a_bad_one(tmp_path):
    bad = ["", "-1", "nan", "inf", "heavy", "1e39"]
    write_feed(tmp_path, [*WEIGHTS[:10], *bad])
    _, found = opened(weighted_schema(tmp_path), tmp_path)
    assert found.unusable == {"bad_weight": len(bad)}
    assert found.unusable_where == {"bad_weight": {"column w": len(bad)}}
    assert found.splits["train"].rows == 10


def test_records_and_shards_hold_the_same_weights(tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    write_feed(logs, [f"{0.1 * number:.3f}" for number in range(40)])
    made = weighted_schema(logs, glob="a.csv")
    assert run(logs / "a.csv", logs / "out", f"--schema={made.path}") == 0
    assert quarantine_of(logs / "out") == []
    assert_same_rows(made, logs, logs / "out")

    records = [example(good_row(number) | {"w": text}) for number, text in enumerate(["2.5", ""])]
    write_records(tmp_path / "a.tfrecord", records)
    source, found = opened(weighted_schema(tmp_path, "tfrecord"), tmp_path)
    assert found.unusable == {"bad_weight": 1}
    (batch,) = batches(source, "train", 9)
    assert batch["weights"]["ctr"].numpy().tolist() == [2.5]


def test_a_schema_keeps_the_column(tmp_path):
    made = weighted_schema(tmp_path)
    assert "w" in needed_columns(made)
    (tmp_path / "again.toml").write_text(to_toml(made))
    assert load_schema(tmp_path / "again.toml").weight == "w"
    made.path.write_text(made.path.read_text().replace('weight = "w"', "weight = 1"))
    with pytest.raises(SchemaError, match=r"small\.toml: weight: found 1, expected a text"):
        load_schema(made.path)
