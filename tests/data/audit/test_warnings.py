"""What an audit counts of features and labels, by hand, and what it warns of."""

import dataclasses
import json

import numpy as np
import pytest

from lt4rec_tf.data.audit.column_counts import RatioCounts
from lt4rec_tf.data.audit.description import describe
from lt4rec_tf.data.audit.findings import Audit
from lt4rec_tf.data.audit.warnings import warnings_of
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.schema.heads import Head
from lt4rec_tf.schema.label_quantiles import LEVELS, LabelQuantiles
from lt4rec_tf.schema.reader import load_schema
from tests.support.feeds import opened

ROWS = 400  # train: times below 300; validation below 350
BY_TIME = SplitRule("time", 300, 350)
HEAD = """
name = "t"
format = "csv"
files = ["a.csv"]
user = "user_id"
time = { column = "time" }
"""
FEATURES = """
[[features]]
name = "user_id"
dtype = "string"
side = "user"
ids = { kind = "hash", buckets = 10 }
[[features]]
name = "city"
dtype = "string"
side = "user"
ids = { kind = "vocabulary", vocabulary = ["a", "b"] }
[[features]]
name = "level"
dtype = "int64"
side = "user"
ids = { kind = "integer", minimum = 0, maximum = 3 }
[[features]]
name = "tags"
dtype = "int64"
side = "item"
multivalued = true
max_values = 2
separator = "|"
ids = { kind = "vocabulary", vocabulary = ["1", "2"] }
[[features]]
name = "spent"
dtype = "float32"
side = "user"
ids = { kind = "numeric" }
"""
LABELS = """
[[labels]]
name = "click"
kind = "binary"
column = "click"
[[labels]]
name = "ratio"
kind = "ratio"
column = "ratio"
[[tasks]]
name = "ctr"
label = "click"
kind = "binary"
loss = "cross_entropy"
metric = "auc"
[[tasks]]
name = "cvr"
label = "ratio"
kind = "continuous"
population = "click"
loss = "mse"
metric = "mse"
"""


def usual(n):
    """A row without anything to warn of; clicks are drawn, so that nothing tells them."""
    click = int(np.random.default_rng(n).random() < 0.5)
    return {
        "user_id": f"u{n % 7}", "time": n, "city": "ab"[n % 2], "level": n % 4,
        "tags": f"{n % 2 + 1}|2", "spent": n % 11, "click": click, "ratio": (n % 10) / 9,
    }  # fmt: skip


def audited(folder, row=usual, rule=BY_TIME, joins="", features=""):
    """Audits rows; the warnings and the counts."""
    rows = [row(n) for n in range(ROWS)]
    lines = [",".join(rows[0]), *(",".join(map(str, values.values())) for values in rows)]
    (folder / "a.csv").write_text("\n".join(lines) + "\n")
    (folder / "s.toml").write_text(HEAD + joins + FEATURES + features + LABELS)
    return opened(load_schema(folder / "s.toml"), folder, rule)[1]


@pytest.fixture(scope="module")
def usual_audit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("usual")
    return audited(folder), load_schema(folder / "s.toml")


def test_usual_rows_give_no_warning(usual_audit):
    found, _ = usual_audit
    assert found.warnings == ()
    assert found.deciding == {}


def test_values_are_counted_by_feature_and_split(tmp_path):
    def row(n):
        changed = {"user_id": "" if n % 2 else f"u{n % 5}"}
        if n >= 350:  # test: three fifths of the users are new
            changed = {"user_id": f"u{n % 5 + 3}", "city": "c" if n % 4 == 0 else "a"}
        if 300 <= n < 350:
            changed |= {"level": 9 if n < 310 else "", "tags": "7|2|8"}
        return usual(n) | changed

    found = audited(tmp_path, row)
    users = found.features["user_id"]
    assert (users.distinct, users.buckets, users.estimated) == (8, 10, False)
    assert users.sharing == pytest.approx(1 - 0.9**7)
    assert users.unknown == {}
    assert users.new == {"validation": 0.0, "test": pytest.approx(0.6)}
    in_test = sum(n % 4 == 0 for n in range(350, 400)) / 50
    assert found.features["city"].unknown == {"train": 0.0, "validation": 0.0, "test": in_test}
    assert found.features["level"].unknown == {"train": 0.0, "validation": 1.0, "test": 0.0}
    assert found.features["level"].distinct == 5
    assert found.features["tags"].unknown == {"train": 0.0, "validation": 0.5, "test": 0.0}
    assert "spent" not in found.features
    assert found.warnings == (
        "warning: feature user_id: of its values 60.0 % in test never occur in train",
        f"warning: feature city: of its values {100 * in_test:.1f} % in test lie outside its "
        "vocabulary or range",
        "warning: feature level: of its values 100.0 % in validation lie outside its vocabulary "
        "or range",
        "warning: feature tags: of its values 50.0 % in validation lie outside its vocabulary or "
        "range",
    )
    said = describe(found).splitlines()
    assert said[-4:] == list(found.warnings)
    (line,) = [line for line in said if line.startswith("user_id")]
    assert line.split()[1:5] == ["8", "10", "52.2", "%"]
    assert line.endswith("0.0 / 60.0 %")


def test_new_users_are_no_warning_where_users_are_split(tmp_path):
    found = audited(tmp_path, lambda n: usual(n) | {"user_id": n % 90}, SplitRule(kind="user"))
    assert found.features["user_id"].new == {"validation": 1.0, "test": 1.0}
    assert not any("user_id" in line for line in found.warnings)


TELLING = {
    "copy": ("int64", '{ kind = "integer", minimum = 0, maximum = 1 }', lambda r: r["click"]),
    "order": ("string", '{ kind = "hash", buckets = 99 }', lambda r: "ny"[r["click"]]),
    # An amount after the click, each another, and no number without one.
    "paid": ("float32", '{ kind = "numeric" }', lambda r: r["click"] * (5 + r["time"] % 97)),
    "left": (
        "float32",
        '{ kind = "boundaries", boundaries = [1.0] }',
        lambda r: "" if r["click"] else r["time"],
    ),
}


def test_features_that_tell_a_label_alone_are_named(tmp_path):
    features = "".join(
        f'[[features]]\nname = "{name}"\ndtype = "{dtype}"\nside = "item"\nids = {rule}\n'
        for name, (dtype, rule, _) in TELLING.items()
    )

    def row(n):
        return usual(n) | {name: value(usual(n)) for name, (_, _, value) in TELLING.items()}

    found = audited(tmp_path, row, features=features)
    assert set(found.deciding) == set(TELLING)
    assert all(aucs["ctr"] > 0.99 for aucs in found.deciding.values())
    for name in TELLING:
        text = f"feature {name} (column {name}) alone tells the label of task ctr, AUC"
        assert any(text in line for line in found.warnings)


def test_a_copy_of_a_ratio_is_named_too(tmp_path):
    features = (
        '[[features]]\nname = "share"\ndtype = "float32"\nside = "item"\n'
        'ids = { kind = "numeric" }\n'
    )
    found = audited(tmp_path, lambda n: usual(n) | {"share": usual(n)["ratio"]}, features=features)
    assert list(found.deciding["share"]) == ["cvr"]


NUMBER = '[[features]]\nname = "paid"\ndtype = "float32"\nside = "user"\nids = {{ kind = "{}" }}\n'


def paid(*numbers):
    return lambda n: usual(n) | {"paid": numbers[n % len(numbers)]}


def test_numbers_that_drown_others_are_counted_and_named(tmp_path):
    found = audited(tmp_path, paid(1, -100, 101, "", 3e38), features=NUMBER.format("numeric"))
    spread = found.spreads["paid"]
    assert (spread.rows, spread.infinite, spread.extreme) == (240, 0, 120)  # of 300 in train
    assert spread.largest == pytest.approx(3e38)
    (line,) = found.warnings
    assert line.startswith(
        "warning: feature paid: 50 % of its numbers are beyond 100 as the network reads them, the "
        'largest 1e+06, and drown all others: ids = { kind = "quantiles" }'
    )
    assert Audit.from_json(json.loads(json.dumps(found.to_json()))).spreads == found.spreads


@pytest.mark.parametrize("kind", ["numeric", "standardised", "quantiles", "piecewise_linear"])
def test_numbers_that_no_float_holds_are_counted_and_named(tmp_path, kind):
    found = audited(tmp_path, paid(1, 2, "", "1e39", "-inf", 3), features=NUMBER.format(kind))
    spread = found.spreads["paid"]
    assert (spread.rows, spread.infinite) == (150, 100)  # of 300 in train
    assert found.warnings == (
        "warning: feature paid: 40 % of its numbers are infinite, as float32 has no larger one "
        "than 3.4e38, and count as missing",
    )


def test_infinite_numbers_beyond_boundaries_are_none_that_miss(tmp_path):
    feature = NUMBER.replace('"{}"', '"boundaries", boundaries = [2, 4]').replace("{{", "{")
    found = audited(tmp_path, paid(1, 2, "1e39", 3, 5), features=feature.replace("}}", "}"))
    assert found.warnings == ()


def test_few_large_numbers_leave_a_standardised_feature_nothing_to_tell(tmp_path):
    rows = [*range(39), 1e30]
    found = audited(tmp_path, paid(*rows), features=NUMBER.format("standardised"))
    train = np.array([rows[n % 40] for n in range(300)])
    spread = found.spreads["paid"]
    assert spread.largest == pytest.approx((1e30 - train.mean()) / train.std())
    middle = np.quantile(train, 0.9) - np.quantile(train, 0.1)
    assert spread.middle == pytest.approx(middle / train.std())
    (line,) = found.warnings
    assert line.startswith("warning: feature paid: the middle 80 % of its numbers lie within ")


@pytest.mark.parametrize("kind", ["numeric", "standardised"])
@pytest.mark.parametrize("numbers", [("",), (5,), (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 90), (1, 2, 3)])
def test_numbers_of_few_values_give_no_warning(tmp_path, kind, numbers):
    found = audited(tmp_path, paid(*numbers), features=NUMBER.format(kind))
    assert [line for line in found.warnings if "numbers" in line] == []


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        (RatioCounts(100, above_one=91, zero=0, tiny=0), "91.0 % of the ratios of task cvr are ab"),
        (RatioCounts(100, above_one=90, zero=10, tiny=0), ""),
        (RatioCounts(100, above_one=0, zero=91, tiny=0), "91.0 % of the ratios of task cvr are 0"),
        (RatioCounts(100, above_one=5, zero=90, tiny=0), ""),
        (RatioCounts(100, above_one=0, zero=50, tiny=46), "92.0 % of the ratios of task cvr that "),
        (RatioCounts(100, above_one=0, zero=50, tiny=45), ""),
        (RatioCounts(0, above_one=0, zero=0, tiny=0), ""),
    ],
    ids=str,
)
def test_ratios_of_other_units_are_named(usual_audit, counts, said):
    audit, schema = usual_audit
    lines = warnings_of(dataclasses.replace(audit, ratios={"cvr": counts}), schema, "time")
    assert len(lines) == bool(said)
    assert all(line.startswith(f"warning: label ratio: {said}") for line in lines)


def test_ratios_are_counted_before_they_are_clipped(tmp_path):
    def row(n):
        return usual(n) | {"click": 1, "ratio": [1.5, 1, 0, 0.005][n % 4]}

    counts = audited(tmp_path, row).ratios["cvr"]
    assert (counts.rows, counts.above_one, counts.zero, counts.tiny) == (300, 75, 75, 75)


def test_a_head_without_groups_of_duration_is_named(usual_audit):
    audit, schema = usual_audit
    task = dataclasses.replace(schema.task("cvr"), head=Head("d2q"))
    schema = dataclasses.replace(schema, tasks=(schema.task("ctr"), task))
    curve = (0.5,) * (LEVELS + 1)

    def warned(quantiles):
        found = dataclasses.replace(audit, label_quantiles={"cvr": quantiles})
        return warnings_of(found, schema, "time")

    (line,) = warned(LabelQuantiles((curve,), rows=7))
    assert line.startswith("warning: task cvr: its head d2q compares a label")
    assert "too few of its 7 rows" in line
    assert warned(LabelQuantiles((curve, curve, curve), (30.0,))) == ()


def test_splits_with_one_class_are_named(usual_audit):
    audit, schema = usual_audit
    counts = audit.splits["test"]
    tasks = counts.tasks | {"ctr": dataclasses.replace(counts.tasks["ctr"], label_mean=0.0)}
    splits = audit.splits | {"test": dataclasses.replace(counts, tasks=tasks)}
    lines = warnings_of(dataclasses.replace(audit, splits=splits), schema, "time")
    assert lines == ("warning: test: all 50 rows of task ctr have label 0",)


@pytest.mark.parametrize(("keys", "misses"), [("u{}", False), ("user{}", True)])
def test_a_side_table_that_never_matches_is_named(tmp_path, keys, misses):
    lines = "".join(f"{keys.format(n)},x\n" for n in range(7))
    (tmp_path / "users.csv").write_text(f"user_id,group\n{lines}")
    joins = '[[joins]]\nfile = "users.csv"\nformat = "csv"\nkey = "user_id"\n'
    features = (
        '[[features]]\nname = "group"\ndtype = "string"\nside = "user"\n'
        'ids = { kind = "hash", buckets = 9 }\n'
    )
    found = audited(tmp_path, joins=joins, features=features)
    text = "side table users.csv: 100.0 % of the rows have no row there: do its keys in user_id"
    assert [text in line for line in found.warnings] == [True] * misses


def test_audits_of_earlier_versions_are_read(usual_audit):
    found, _ = usual_audit
    stored = json.loads(json.dumps(found.to_json()))
    assert Audit.from_json(stored) == found
    for name in ("features", "ratios", "deciding", "warnings"):
        del stored[name]
    earlier = Audit.from_json(stored)
    assert (earlier.features, earlier.warnings) == ({}, ())
    assert describe(earlier) in describe(found)
