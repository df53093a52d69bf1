"""What the card of a published version says."""

import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.metrics.continuous import pcoc
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.serving.model_card import Bin, CardFacts, deciles, folder_size, model_card
from lt4rec_tf.serving.publish import opened, publish
from tests.support.schemas import HOUR, LENGTH, SMALL_SCHEMA

TIME = """
[time]
column = "when"

"""
MORE = (
    """
[[features]]
name = "device"
dtype = "string"
side = "user"
missing = "n|a"
ids = { kind = "vocabulary", vocabulary = ["phone", "планшет"] }
"""
    + HOUR
    + LENGTH
    + """
[[features]]
name = "seconds"
dtype = "float32"
side = "item"
ids = { kind = "numeric", transform = "log1p", mean = 4.5, scale = 2.0 }

[[labels]]
name = "watched"
kind = "ratio"
play_time = "play_ms"
play_time_unit = "ms"
duration = "duration"
duration_unit = "s"
zero_duration = "exclude"

[[tasks]]
name = "watch"
label = "watched"
kind = "continuous"
loss = "mse"
metric = "mse"
direction = "min"
"""
)
DATA = {
    "splits": {
        "train": {
            "rows": 70,
            "tasks": {
                "ctr": {"rows": 70, "label_mean": 0.4},
                "cvr": {"rows": 28, "label_mean": 0.8},
                "watch": {"rows": 70, "label_mean": None},
            },
        },
        "test": {
            "rows": 30,
            "tasks": {
                "ctr": {"rows": 30, "label_mean": 0.5},
                "cvr": {"rows": 15, "label_mean": 0.75},
                "watch": {"rows": 30, "label_mean": 0.25},
            },
        },
    },
    "files": {"train": ["day_1.csv", "day_2.csv"], "test": []},
    "validation_from": 1600000000.0,
    "test_from": 1600086400.0,
}
INPUTS = {
    "user": np.array([b"u1", b"u2"], object),
    "tags": np.array([["фильм".encode(), b"\xff\x00", b""], [b"", b"", b""]], object),
    "hour": np.array([7, 8]),
    "age": np.array([0.1, 2.0], np.float32),
}
ANSWERS = {"pctr": np.array([0.7, 0.2], np.float32), "pcvr": np.array([0.25, 0.1], np.float32)}


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    path = tmp_path_factory.mktemp("schema") / "carded.toml"
    path.write_text(SMALL_SCHEMA + MORE + TIME, encoding="utf-8")
    return load_schema(path)


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    @tf.function(input_signature=[{"age": tf.TensorSpec((None,), tf.float32, "age")}])
    def click(raw):
        return {"pctr": tf.sigmoid(raw["age"])}

    @tf.function(
        input_signature=[
            {
                "user": tf.TensorSpec((None,), tf.string, "user"),
                "tags": tf.TensorSpec((None, 3), tf.string, "tags"),
            }
        ]
    )
    def rank(raw):
        length = tf.cast(tf.strings.length(raw["tags"]), tf.float32)
        return {"score": length, "n": tf.cast(tf.strings.length(raw["user"]), tf.float32)}

    signatures = {"serving_default": click, "rank": rank}
    signatures = {name: one.get_concrete_function() for name, one in signatures.items()}
    sample = {
        "serving_default": {"age": np.zeros(1, np.float32)},
        "rank": {"user": np.array(["u"], object), "tags": np.array([["a", "", "bc"]], object)},
    }
    expected = {
        "serving_default": {"pctr": np.array([0.5], np.float32)},
        "rank": {
            "score": np.array([[1, 0, 2]], np.float32),
            "n": np.array([1], np.float32),
        },
    }
    base = tmp_path_factory.mktemp("models")
    with opened(publish(tf.Module(), signatures, base, sample, expected)) as found:
        yield found


def facts(**changes):
    known = {
        "run": "quick-0123/seed_1",
        "model": "s_weight",
        "data": DATA,
        "metrics": {"ctr": {"auc": 0.712346, "log_loss": None}, "ctcvr": {"mse": 0.125}},
        "calibration": {
            "ctr": [Bin(20, 0.1, 0.3, 0.2, 0.25), Bin(10, 0.4, 0.9, 0.5, 0.7)],
            "cvr": [Bin(5, 0.0, 0.5, 0.25, 0.0)],
        },
        "densities": {"ctr": 1.0, "cvr": 0.2},
        "versions": {"tensorflow": "2.21.0", "tf_keras": "2.21.0"},
        "size": 123456,
        "warmup_requests": 42,
        "inputs": INPUTS,
        "answers": ANSWERS,
        "other_answers": {"score": "`pctr` * `pcvr`^2"},
    }
    return CardFacts(**(known | changes))


def sections(card):
    """Section -> its lines, tables as lists of stripped cells."""
    found = {}
    for section in card.split("\n## ")[1:]:
        name, _, text = section.partition("\n\n")
        found[name] = [
            [cell.strip() for cell in line.replace(r"\|", "¦").strip("|").split("|")]
            if line.startswith("|")
            else line
            for line in text.rstrip("\n").split("\n")
        ]
    return found


@pytest.fixture(scope="module")
def card(schema, version):
    return sections(model_card(schema, version.signatures, facts()))


def test_a_card_names_the_model_first(schema, version):
    text = model_card(schema, version.signatures, facts())
    assert text.startswith("# Model card: small, s_weight\n\nModel `s_weight` of run `quick-0123/")
    assert "one network for ctr and cvr and watch" in " ".join(text.split())
    assert text.endswith("\n")


def test_maps_are_told_with_what_they_change(card, schema, version):
    assert "Calibration maps" not in card
    known = facts(
        maps={"ctr": "platt, slope 2"},
        unmapped={"cvr": "found 3 rows"},
        fitted_on="validation",
        uncalibrated={"ctr": {"auc": 0.7}, "cvr": {"mse": 1.0}, "ctcvr": {"mse": 0.25}},
    )
    found = sections(model_card(schema, version.signatures, known))["Calibration maps"]
    assert found[0] == "Fitted on validation; all answers are made with them."
    assert found[2:4] == ["- `ctr`: platt, slope 2", "- `cvr` has none: found 3 rows"]
    lines = [[line[place] for place in (0, 1, 2, 6)] for line in found[-4:]]
    assert lines == [
        ["ctr", "none", "0.70000", "-"],
        ["ctr", "platt, slope 2", "0.71235", "-"],
        ["ctcvr", "none", "-", "0.25000"],
        ["ctcvr", "of its tasks", "-", "0.12500"],
    ]


def test_answers_are_told_in_the_schemas_words(card):
    assert card["Answers"] == [
        "- `pctr`: probability that `click` is 1",
        "- `pcvr`: expected `watch_ratio`, given that `click` is 1",
        "- `pwatch`: expected `watched`",
        "- `pctcvr` = `pctr` * `pcvr`",
        "- `score`: `pctr` * `pcvr`^2",
    ]


def test_a_card_of_one_task_tells_of_no_other(schema, version):
    known = facts(other_answers={})
    text = model_card(schema.with_tasks(["cvr"]), version.signatures, known)
    (answer,) = sections(text)["Answers"]
    assert answer == "- `pcvr`: expected `watch_ratio`, given that `click` is 1"
    assert "watched" not in text


def test_signatures_are_those_of_the_saved_model(card):
    assert card["Signatures"][2:] == [
        "- `rank`",
        "  - takes `tags` string (?, 3), `user` string (?)",
        "  - answers `n` float32 (?), `score` float32 (?, 3)",
        "- `serving_default`",
        "  - takes `age` float32 (?)",
        "  - answers `pctr` float32 (?)",
    ]


def test_features_are_told_with_rule_missing_value_and_what_becomes_of_others(card):
    rows = {line[0]: line[1:] for line in card["Features"][2:]}
    shared = "none: every value has a row, some share one"
    clipped = "not finite: missing; beyond 1e+06: clipped"
    assert rows == {
        "`user`": ["user", "string", "one", "hashed into 20 rows", '`""`', shared],
        "`video`": ["item", "string", "one", "hashed into 30 rows", '`""`', shared],
        "`tags`": ["item", "string", "list of up to 3", "hashed into 10 rows", '`""`', shared],
        "`source`": ["context", "string", "one", "hashed into 30 rows", '`"-1"`', shared],
        "`age`": ["user", "float32", "one", "(x - 30) / 10", "`NaN`", clipped],
        "`device`": ["user", "string", "one", "2 known values", '`"n¦a"`', "share one row"],
        "`hour`": ["context", "int64", "one", "whole numbers 0 to 23", "`-1`", "share one row"],
        "`length`": [
            *("item", "float32", "one", "ranges between 15, 60.5, 300", "`NaN`"),
            "none: the outer ranges are open",
        ],
        "`seconds`": [
            *("item", "float32", "one", "(log(1 + max(x, 0)) - 4.5) / 2", "`NaN`"),
            clipped,
        ],
    }


def test_labels_are_told_by_their_columns(card):
    assert card["Labels"] == [
        "- `click`: column `click`, 0 or 1",
        "- `watch_ratio`: column `watch_ratio`, clipped to [0, 1]",
        "- `watched`: column `play_ms` (ms) / column `duration` (s), clipped to [0, 1]; "
        "a row of no duration is left out",
    ]


def test_the_data_window_is_told_in_the_time_columns_unit_and_as_dates(card):
    assert card["Data"][2:] == [
        ["train", "`when` before 1600000000 (2020-09-13 12:26:40)", "all", "70", ""],
        ["train", "", "ctr", "70", "0.40000"],
        ["train", "", "cvr", "28", "0.80000"],
        ["train", "", "watch", "70", "-"],
        ["test", "`when` from 1600086400 (2020-09-14 12:26:40)", "all", "30", ""],
        ["test", "", "ctr", "30", "0.50000"],
        ["test", "", "cvr", "15", "0.75000"],
        ["test", "", "watch", "30", "0.25000"],
    ]


def test_without_boundaries_in_time_the_window_is_the_files(schema, version):
    data = DATA | {"validation_from": None, "test_from": None}
    lines = sections(model_card(schema, version.signatures, facts(data=data)))["Data"]
    windows = [line[1] for line in lines[2:] if line[2] == "all"]
    assert windows == ["2 files, `day_1.csv` to `day_2.csv`", "0 files"]


def test_metrics_and_densities_are_told_by_task(card):
    assert card["Quality on test"][2:] == [
        ["ctr", "AUC", "0.71235"],
        ["ctr", "log loss", "-"],
        ["ctcvr", "MSE", "0.12500"],
    ]
    assert card["Density"][4:] == [["ctr", "1.000"], ["cvr", "0.200"]]


def test_calibration_is_told_for_all_rows_and_by_prediction(card):
    lines = card["Calibration on test"]
    assert lines[0] == "`ctr`:"
    assert lines[4:7] == [
        ["all", "0.10000", "0.90000", "30", "0.30000", "0.40000", "0.75000"],
        ["part 1", "0.10000", "0.30000", "20", "0.20000", "0.25000", "0.80000"],
        ["part 2", "0.40000", "0.90000", "10", "0.50000", "0.70000", "0.71429"],
    ]
    assert lines[8] == "`cvr`:"
    assert lines[12] == ["all", "0.00000", "0.50000", "5", "0.25000", "0.00000", "-"]


def test_the_example_is_a_request_and_its_answer_in_json(card):
    text = "\n".join(card["Example"])
    request, answer = (block.partition("\n```")[0] for block in text.split("```json\n")[1:])
    row = {"user": "u1", "tags": ["фильм", {"b64": "/wA="}, ""], "hour": 7, "age": 0.1}
    assert json.loads(request) == {"instances": [row]}
    assert json.loads(answer) == {"predictions": [{"pctr": 0.7, "pcvr": 0.25}]}
    assert "фильм" in request


def test_a_lone_output_is_answered_bare(schema, version):
    text = model_card(schema, version.signatures, facts(answers={"pctr": ANSWERS["pctr"]}))
    assert json.loads(text.split("```json\n")[2].partition("```")[0]) == {"predictions": [0.7]}


def test_versions_and_size_close_the_card(card):
    assert card["Made with"] == [
        "- tensorflow 2.21.0",
        "- tf_keras 2.21.0",
        "- size: 123456 bytes",
        "- requests that a server replays when it loads this: 42",
    ]


def test_deciles_are_parts_of_equal_size_by_prediction():
    probabilities = np.array([0.9, 0.1, 0.5, 0.3, 0.7])
    labels = np.array([1.0, 0.0, 1.0, 0.5, 0.0])
    assert deciles(labels, probabilities, bins=2) == [
        Bin(3, 0.1, 0.5, pytest.approx(0.3), 0.5),
        Bin(2, 0.7, 0.9, pytest.approx(0.8), 0.5),
    ]
    assert [part.rows for part in deciles(np.zeros(23), np.linspace(0, 1, 23))] == [3] * 3 + [2] * 7
    assert [part.rows for part in deciles(np.zeros(3), np.zeros(3))] == [1, 1, 1]
    assert deciles(np.zeros(0), np.zeros(0)) == []


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.floats(0, 1, width=32)), min_size=1))
def test_deciles_hold_every_row_once_and_rise(rows):
    labels, probabilities = np.array(rows).T
    parts = deciles(labels, probabilities)
    sizes = [part.rows for part in parts]
    assert sum(sizes) == len(rows)
    assert max(sizes) - min(sizes) <= 1
    edges = [edge for part in parts for edge in (part.lowest, part.highest)]
    assert edges == sorted(edges)
    assert np.dot(sizes, [part.observed for part in parts]) == pytest.approx(labels.sum())
    if labels.any():
        predicted = np.dot(sizes, [part.predicted for part in parts])
        assert predicted / labels.sum() == pytest.approx(pcoc(labels, probabilities))


@pytest.mark.parametrize("wrong", [[0.5, np.nan], [0.5]])
def test_deciles_refuse_columns_that_do_not_fit(wrong):
    with pytest.raises(ValueError, match="probabilities: found"):
        deciles(np.zeros(2), np.array(wrong))


def test_the_size_of_a_version_is_that_of_its_files(tmp_path):
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"12345")
    (tmp_path / "variables" / "variables.index").write_bytes(b"123")
    assert folder_size(tmp_path) == 8
