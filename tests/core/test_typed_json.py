"""JSON that somebody changed: refused by file and key, whatever was changed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict

import pytest

from lt4rec_tf.core.artifacts import RunError
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.data.audit.column_counts import FeatureCounts, RatioCounts
from lt4rec_tf.data.audit.findings import Audit, Example, SplitCounts
from lt4rec_tf.data.audit.task_counts import TaskCounts
from lt4rec_tf.data.audit.times import FarTime, Times
from lt4rec_tf.data.convert.shards import Converted, Shard
from lt4rec_tf.tickets.search import HISTORY, read_result
from tests.support.tampering import tampered


@dataclass
class Point:
    x: int
    y: float | None = 0.0


class Line(TypedDict):
    name: str
    points: list[Point]
    pair: NotRequired[tuple[int, str]]
    kind: NotRequired[Literal["a", "b"]]
    many: NotRequired[Mapping[str, Sequence[str]]]


LINE = {"name": "l", "points": [{"x": 1}, {"x": 2, "y": None}], "pair": [1, "a"], "more": 7}
LINE |= {"kind": "a", "many": {"x": ["y"]}}


def written(folder, value):
    path = folder / "file.json"
    path.write_text(json.dumps(value))
    return path


def test_what_fits_is_read_as_it_is(tmp_path):
    assert read_typed(written(tmp_path, LINE), Line) == LINE
    without = {key: LINE[key] for key in ("name", "points")}
    assert read_typed(written(tmp_path, without), Line) == without
    for value, hint in [(1, float), (None, int | None), ([1, 2], tuple[int, ...]), ("a", Any)]:
        assert read_typed(written(tmp_path, value), hint) == value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 1}, "name: found 1, expected a text"),
        ({"name": True}, "name: found True, expected a text"),
        ({"points": {}}, "points: found {}, expected a list"),
        ({"points": [[]]}, r"points\[0\]: found \[\], expected an object"),
        ({"points": [{}]}, r"points\[0\].x: found nothing, expected a value"),
        ({"points": [{"x": 1.5}]}, r"points\[0\].x: found 1.5, expected a whole number"),
        ({"points": [{"x": True}]}, r"points\[0\].x: found True, expected a whole number"),
        ({"points": [{"x": 1 << 63}]}, r"points\[0\].x: found a huge number, expected a whole"),
        ({"points": [{"x": 1, "y": "a"}]}, r"points\[0\].y: found 'a', expected a number"),
        ({"points": [{"x": 1, "z": 1}]}, r"points\[0\].z: found 1, expected no such key"),
        ({"kind": "c"}, "kind: found 'c', expected one of 'a', 'b'"),
        ({"many": {"x": "y"}}, "many.x: found 'y', expected a list"),
        ({"many": ["x"]}, r"many: found \['x'\], expected an object"),
        ({"pair": [1]}, "pair: found 1 values, expected 2"),
        ({"pair": [1, 2]}, r"pair\[1\]: found 2, expected a text"),
    ],
)
def test_what_does_not_fit_is_named_with_its_key(tmp_path, change, message):
    with pytest.raises(RunError, match=f"file.json: {message}"):
        read_typed(written(tmp_path, LINE | change), Line)


@pytest.mark.parametrize("text", ["", "{", '{"a": }', "[" * 100_000, "\x00", "1" * 5000])
def test_what_is_no_json_is_named(tmp_path, text):
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(RunError, match=r"file\.json: not JSON"):
        read_typed(path, Line)


def test_a_folder_and_other_bytes_are_named(tmp_path):
    with pytest.raises(RunError, match="found a folder, expected a file"):
        read_typed(tmp_path, Line)
    (tmp_path / "file.json").write_bytes(b"\xff{}")
    with pytest.raises(RunError, match=r"file\.json: not UTF-8"):
        read_typed(tmp_path / "file.json", Line)


def test_a_key_that_its_use_asks_for_is_named(tmp_path):
    points = read_typed(written(tmp_path, LINE), dict[str, Any])["points"]
    with pytest.raises(RunError, match=r"file\.json: found x, y, expected z among them"):
        points[1]["z"]
    assert points[1].get("z") is None
    with pytest.raises(KeyError):
        dataclasses.asdict(Holder(points[1]))["held"]["z"]


@dataclass
class Holder:
    held: dict[str, Any]


# What runs and conversions read


COUNTS = TaskCounts(3, 0.5, 0.5)
AUDIT = Audit(
    rows=4,
    unusable={"columns": 1},
    unusable_by_file={"a.csv": {"columns": 1}},
    examples=(Example("a.csv", 1, "columns", "1,2"),),
    feature_faults={"user": 0},
    join_misses={},
    join_unusable_rows={},
    unlabelled={"click": 0},
    splits={"train": SplitCounts(3, {"ctr": COUNTS})},
    files={"train": {"a.csv": 3}},
    validation_from=None,
    test_from=1.0,
    quarantine=(7,),
    features_absent_in={"user": ("a.csv",)},
    features={"user": FeatureCounts(3, False, None, None, {"train": None}, {"test": 0.5})},
    ratios={"cvr": RatioCounts(3, 0, 0, 0)},
    deciding={"user": {"ctr": 1.0}},
    times=Times("s", 0.0, 9.0, 1.0, 2.0, 1, FarTime("a.csv", 1, 99.0), ()),
)
STAGE = {
    "best_epoch": 0,
    "validation": {"ctr": {"auc": 0.5, "gauc": None}},
    "validation_loss": {"ctr": 0.7},
    "seconds": 1.5,
    "history": [{"epoch": 0}],
}
CONVERTED = Converted("a.csv", 9, "ab", 3, 1, (Shard("shards/a", 2, 9, "cd"),))


def read_stage(path):
    path.rename(path.with_name(HISTORY))
    return read_result(path.parent)


READERS = {
    "data.json": (AUDIT.to_json(), lambda path: Audit.from_json(read_typed(path, Audit))),
    "history.json": (STAGE, read_stage),
    "00000.json": (
        dataclasses.asdict(CONVERTED),
        lambda path: Converted.from_json(read_typed(path, Converted)),
    ),
}


@pytest.mark.parametrize("kind", READERS)
def test_no_change_ends_in_a_stack_trace(tmp_path, kind):
    content, read = READERS[kind]
    read(written(tmp_path, content))
    refused = 0
    for mutant in tampered(content):
        try:
            read(written(tmp_path, mutant))
        except RunError as error:
            refused += str(tmp_path) in str(error)
    assert refused > 20


def test_the_audit_survives_json(tmp_path):
    assert Audit.from_json(read_typed(written(tmp_path, AUDIT.to_json()), Audit)) == AUDIT
