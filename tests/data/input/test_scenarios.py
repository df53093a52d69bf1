"""Scenarios: rows that a task is learned on by conditions on columns, in every format."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lt4rec_tf.data.audit import audit, checks
from lt4rec_tf.data.audit.description import describe
from lt4rec_tf.data.audit.findings import Audit
from lt4rec_tf.data.audit.scenarios import ScenarioRows
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.input.order import Order
from lt4rec_tf.data.input.pipeline import batches
from lt4rec_tf.data.input.source import open_source
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.schema.reader import load_schema
from tests.data.input.test_labels import read, reasons
from tests.support.conversions import quarantine_of, run
from tests.support.feeds import (
    COLUMNS,
    FUNNEL,
    example,
    good_row,
    opened,
    scenario_schema,
    value,
    write_lines,
    write_parquet,
    write_records,
)

pytestmark = pytest.mark.slow(minutes=1)

WIFI = '{ column = "network", comparison = "==", value = "wifi" }'
MOBILE = '{ column = "network", comparison = "!=", value = "wifi" }'
NETWORKS = ("wifi", "4g", "", "wifi", "5g", "7")


def weights_of(found):
    return {task: rows.numpy().tolist() for task, rows in found.weights.items()}


def test_a_task_is_learned_on_its_population_and_its_scenario(tmp_path):
    made = scenario_schema(tmp_path, ctr=WIFI, cvr=f"[{WIFI}]")
    found = read(
        made,
        click=["1", "0", "1", "1", "0", "1"],
        play_time=["50", "", "50", "25", "", "50"],
        length=["100"] * 6,
        network=["wifi", "wifi", "4g", "wifi", "", "WIFI"],
    )
    assert reasons(found) == ["usable"] * 6
    assert weights_of(found) == {"ctr": [1, 1, 0, 1, 0, 0], "cvr": [1, 0, 0, 1, 0, 0]}
    assert found.labels["ctr"].numpy().tolist() == [1, 0, 0, 1, 0, 0]
    assert found.labels["cvr"].numpy().tolist() == [0.5, 0, 0, 0.25, 0, 0]


def test_all_conditions_must_hold(tmp_path):
    where = f'[{WIFI}, {{ column = "length", comparison = "<", value = 60 }}]'
    made = scenario_schema(tmp_path, ctr=where)
    found = read(
        made,
        click=["0"] * 4,
        play_time=[""] * 4,
        length=["59", "60", "59", "long"],
        network=["wifi", "wifi", "4g", "wifi"],
    )
    assert weights_of(found)["ctr"] == [1, 0, 0, 0]


def test_a_label_is_missing_only_where_a_task_needs_it(tmp_path):
    """With CTR of Wi-Fi alone a row of another network needs no click, and CVR's needs one."""
    columns = {
        "click": ["", "", "1", "1"],
        "play_time": ["10", "10", "", ""],
        "length": ["100"] * 4,
        "network": ["wifi", "4g", "wifi", "4g"],
    }
    both = scenario_schema(tmp_path, ctr=WIFI, cvr=WIFI)
    found = read(both, **columns)
    assert reasons(found) == ["missing_label", "usable", "missing_label", "usable"]
    assert weights_of(found) == {"ctr": [0, 0, 0, 0], "cvr": [0, 0, 0, 0]}

    clicks = read(scenario_schema(tmp_path, ctr=WIFI), **columns)  # CVR is that of all clicks
    assert reasons(clicks) == ["missing_label"] * 4
    watched = read(scenario_schema(tmp_path, cvr=MOBILE), **columns)
    assert reasons(watched) == ["missing_label", "missing_label", "usable", "missing_label"]
    alone = read(both.with_tasks(["cvr"]), **columns)
    assert reasons(alone) == ["missing_label", "usable", "missing_label", "usable"]


def test_tasks_of_one_label_have_the_rows_of_their_own_scenario(tmp_path):
    more = '\n[[tasks]]\nname = "mobile"\nlabel = "click"\nkind = "binary"\n'
    more += f'where = {MOBILE}\nloss = "cross_entropy"\nmetric = "auc"\n'
    made = scenario_schema(tmp_path, more=more, ctr=WIFI)
    found = read(
        made,
        click=["1", "1", "0", "1"],
        play_time=["50"] * 4,
        length=["100"] * 4,
        network=["wifi", "4g", "", "wifi"],
    )
    assert weights_of(found) == {
        "ctr": [1, 0, 0, 1],
        "cvr": [1, 1, 0, 1],
        "mobile": [0, 1, 1, 0],  # of an absent value != holds, as in filters
    }


def test_populations_nest_within_a_scenario(tmp_path):
    """Refunds of Wi-Fi: outside it neither the conversion nor the refund needs to be known."""
    made = scenario_schema(tmp_path, more=FUNNEL, conv=WIFI, refund=WIFI)
    columns = {
        "click": ["1", "1", "1", "0", "1"],
        "play_time": ["50"] * 5,
        "length": ["100"] * 5,
        "conv": ["1", "1", "", "1", ""],
        "refund": ["0", "1", "", "1", ""],
        "network": ["wifi", "4g", "4g", "wifi", "wifi"],
    }
    found = read(made, **columns)
    assert reasons(found) == ["usable", "usable", "usable", "usable", "missing_label"]
    assert weights_of(found)["conv"] == [1, 0, 0, 0, 0]
    assert weights_of(found)["refund"] == [1, 0, 0, 0, 0]

    refunds = read(made.with_tasks(["refund"]), **columns)
    assert reasons(refunds) == reasons(found)
    assert weights_of(refunds)["refund"] == [1, 0, 0, 0, 0]


def rows_of(count=24):
    made = []
    for number in range(count):
        network = NETWORKS[number % len(NETWORKS)]
        made.append(good_row(number, click="1" if number % 3 else "0") | {"network": network})
        made[-1]["play_time"] = "25" if number % 3 else ""
    return made


def write_csv(path, rows, names=(*COLUMNS, "network"), delimiter=","):
    lines = [delimiter.join(row[name] for name in names) for row in rows]
    path.write_text("\n".join([delimiter.join(names), *lines]) + "\n")


def write(path, kind, rows):
    if kind in ("csv", "tsv"):
        write_csv(path, rows, delimiter="," if kind == "csv" else "\t")
    elif kind == "tfrecord":
        write_records(path, [example(row) for row in rows])
    elif kind == "jsonl":
        typed = [{name: value(name, row[name]) for name in COLUMNS} for row in rows]
        for made, row in zip(typed, rows, strict=True):
            made["network"] = row["network"] or None
        path.write_text("\n".join(json.dumps(made) for made in typed) + "\n")
    else:
        networks = pa.array([row["network"] or None for row in rows]).dictionary_encode()
        write_parquet(path, rows, network=networks)


def learned(source):
    """By task the numbers of the rows that it is learned on."""
    rows = {}
    for batch in batches(source, "train", 7, Order()):
        numbers = batch["features"]["number"].numpy() - 2
        for task, weights in batch["weights"].items():
            rows.setdefault(task, []).extend(numbers[weights.numpy() > 0].tolist())
    return rows


EXPECTED = {
    "ctr": [n for n in range(24) if n % 6 in (0, 3)],
    "cvr": [n for n in range(24) if n % 3 and n % 6 not in (0, 3)],
}


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "tfrecord", "parquet"])
def test_every_format_gives_a_task_the_same_rows(tmp_path, kind):
    write(tmp_path / f"a.{kind}", kind, rows_of())
    made = scenario_schema(tmp_path, kind, ctr=WIFI, cvr=MOBILE)
    source, found = opened(made, tmp_path)
    assert found.unusable == {}
    assert learned(source) == EXPECTED
    assert found.scenarios == {
        "ctr": ScenarioRows('network == "wifi"', 8, 0),
        "cvr": ScenarioRows('click is 1 and network != "wifi"', 16, 0),
    }


def test_shards_of_convert_give_a_task_the_same_rows(tmp_path):
    """Which network a row has is no feature there: its column is kept for the tasks alone."""
    logs = tmp_path / "logs"
    logs.mkdir()
    write(logs / "a.csv", "csv", rows_of())
    made = scenario_schema(logs, ctr=WIFI, cvr=MOBILE)
    assert run(logs / "a.csv", logs / "out", f"--schema={made.path}") == 0
    assert quarantine_of(logs / "out") == []
    shards = dataclasses.replace(made, format="tfrecord", files=("shards/*",), columns=())
    assert learned(opened(shards, logs / "out")[0]) == EXPECTED


TAB = """
[[features]]
name = "tab"
dtype = "int64"
side = "context"
ids = { kind = "integer", minimum = 0, maximum = 9 }
"""


def test_shards_hold_what_a_feature_cannot_read_and_a_condition_can(tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    tabs = ("1", "one", "2", "")
    rows = [good_row(n) | {"tab": tabs[n % 4]} for n in range(12)]
    write_csv(logs / "a.csv", rows, names=(*COLUMNS, "tab"))
    one = '{ column = "tab", comparison = "==", value = "one" }'
    made = scenario_schema(logs, more=TAB, ctr=one)
    assert run(logs / "a.csv", logs / "out", f"--schema={made.path}") == 0
    assert quarantine_of(logs / "out") == []
    shards = dataclasses.replace(made, format="tfrecord", files=("shards/*",), columns=())
    for schema, folder in (
        (dataclasses.replace(made, files=("a.csv",)), logs),
        (shards, logs / "out"),
    ):
        assert learned(opened(schema, folder)[0])["ctr"] == [1, 5, 9]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_booleans_and_whole_numbers_compare_by_what_they_are(tmp_path, kind):
    rows = rows_of(12)
    typed = {name: [value(name, row[name]) for row in rows] for name in COLUMNS}
    typed["member"] = [(True, False, None)[n % 3] for n in range(12)]
    typed["tab"] = [(1, 2)[n % 2] for n in range(12)]
    if kind == "parquet":
        pq.write_table(pa.table(typed), tmp_path / "a.parquet")
    else:
        values_of_rows = zip(*typed.values(), strict=True)
        lines = [dict(zip(typed, values, strict=True)) for values in values_of_rows]
        (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    made = scenario_schema(
        tmp_path,
        kind,
        ctr='{ column = "member", comparison = "==", value = true }',
        cvr='{ column = "tab", comparison = "==", value = "2" }',
    )
    assert learned(opened(made, tmp_path)[0]) == {
        "ctr": [0, 3, 6, 9],
        "cvr": [n for n in range(12) if n % 3 and n % 2],
    }


def test_a_column_of_numbers_here_and_texts_there_compares_by_the_condition(tmp_path):
    tabs = ("1", "1.0", "2", "", "one")
    rows = [good_row(n) | {"tab": tabs[n % 5]} for n in range(10)]
    write_csv(tmp_path / "a.csv", rows[:2], names=(*COLUMNS, "tab"))
    write_csv(tmp_path / "b.csv", rows[2:], names=(*COLUMNS, "tab"))
    number = '{ column = "tab", comparison = "==", value = 1 }'
    text = '{ column = "tab", comparison = "==", value = "1" }'
    source, found = opened(scenario_schema(tmp_path, ctr=number, cvr=text), tmp_path)
    assert learned(source) == {"ctr": [0, 1, 5, 6], "cvr": [1, 5]}
    assert found.scenarios == {
        "ctr": ScenarioRows("tab == 1", 4, 2),
        "cvr": ScenarioRows('click is 1 and tab == "1"', 4, 0),
    }
    assert found.in_no_scenario == 6
    said = describe(found)
    assert "task ctr: rows where tab == 1; 2 others hold what cannot be compared\n" in said
    assert 'task cvr: rows where click is 1 and tab == "1"\n' in said
    assert "6 usable records are in the scenario of no task\n" in said


def test_rows_are_in_no_scenario_only_where_every_task_has_one(tmp_path):
    write(tmp_path / "a.csv", "csv", rows_of())
    found = opened(scenario_schema(tmp_path, ctr=WIFI), tmp_path)[1]
    assert found.in_no_scenario == 0
    assert "in the scenario of no task" not in describe(found)
    plain = opened(scenario_schema(tmp_path), tmp_path)[1]
    assert plain.scenarios == {}
    assert "rows where" not in describe(plain)


def test_a_condition_may_be_on_a_column_of_a_side_table(tmp_path):
    (tmp_path / "videos.tsv").write_text("video\tkind\nv1\tfilm\nv2\tNULL\nv3\tad\n")
    join = '\n[[joins]]\nfile = "videos.tsv"\nformat = "tsv"\nkey = "video"\n'
    film = '{ column = "kind", comparison = "==", value = "film" }'
    path = scenario_schema(tmp_path, more=join, ctr=film).path
    path.write_text('nulls = ["NULL"]\n' + path.read_text())
    lines = [good_row(n, video=f"v{n % 5}") for n in range(20)]
    write_lines(tmp_path / "a.csv", [",".join(row[c] for c in COLUMNS).encode() for row in lines])
    source, _ = opened(load_schema(path), tmp_path)
    assert learned(source)["ctr"] == [n for n in range(20) if n % 5 == 1]


def test_a_column_that_is_not_there_is_named(tmp_path):
    write_lines(tmp_path / "a.csv", [b",".join([b"1"] * len(COLUMNS))])
    with pytest.raises(DataError, match=r"found no column 'network', which .*small\.toml asks for"):
        open_source(scenario_schema(tmp_path, ctr=WIFI), tmp_path, SplitRule())


def test_a_scenario_without_rows_is_refused_with_its_condition(tmp_path):
    write(tmp_path / "a.csv", "csv", rows_of(40))
    nowhere = '{ column = "network", comparison = "==", value = "Wi-Fi" }'
    made = scenario_schema(tmp_path, cvr=nowhere)
    found = opened(made, tmp_path, SplitRule("none"))[1]
    with pytest.raises(DataError) as error:
        checks.check(found, 0.0, splits=("train",))
    assert str(error.value) == (
        "train: found no row in the population of task cvr, which is learned where click is 1 and "
        'network == "Wi-Fi"; in all splits 0 usable rows are of its scenario'
    )

    rows = rows_of(40)  # days 0 to 3
    for row in rows[20:30]:
        row["network"] = "4g"
    write(tmp_path / "a.csv", "csv", rows)
    made = scenario_schema(tmp_path, ctr=WIFI)
    found = opened(made, tmp_path, SplitRule("time", 2, 3))[1]
    with pytest.raises(DataError, match=r'validation: .* task ctr, which .* network == "wifi"; in'):
        checks.check_validation(found, made)


def test_an_audit_of_an_earlier_version_has_no_scenarios(tmp_path):
    write(tmp_path / "a.csv", "csv", rows_of())
    source = open_source(scenario_schema(tmp_path, ctr=WIFI), tmp_path, SplitRule())
    stored = json.loads(json.dumps(audit.audit(source).to_json()))
    del stored["scenarios"], stored["in_no_scenario"]
    assert Audit.from_json(stored).scenarios == {}


def test_weights_and_kept_negatives_are_those_of_the_scenario(tmp_path):
    rows = rows_of()
    for row in rows:
        row["share"] = "0.5" if row["network"] == "wifi" else "none"
        row["worth"] = "2"
    write_csv(tmp_path / "a.csv", rows, names=(*COLUMNS, "network", "share", "worth"))
    path = scenario_schema(tmp_path, ctr=WIFI).path
    text = path.read_text().replace("where =", 'negatives_kept = "share"\nwhere =', 1)
    path.write_text('weight = "worth"\n' + text)
    source, found = opened(load_schema(path), tmp_path)
    assert found.unusable == {}  # outside Wi-Fi no share is read
    (batch,) = batches(source, "train", 99)
    weights = batch["weights"]["ctr"].numpy()
    np.testing.assert_array_equal(weights, [2.0 * (n % 6 in (0, 3)) for n in range(24)])
    kept = batch["negatives_kept"]["ctr"].numpy()
    clicked = batch["labels"]["ctr"].numpy() == 1
    np.testing.assert_array_equal(kept[(weights > 0) & ~clicked], 0.5)
    np.testing.assert_array_equal(kept[weights == 0], 1.0)
