"""A whole number that some file writes as a float is the same id, in every place that reads it."""

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.audit import audit as auditing
from lt4rec_tf.data.audit import marginals
from lt4rec_tf.data.formats.values import has_ids, id_of, id_text
from lt4rec_tf.data.input.features import features_to_ids
from lt4rec_tf.data.input.pipeline import batches
from lt4rec_tf.data.input.side_tables import load_side_table, look_up
from lt4rec_tf.data.input.source import open_source
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import Feature, IdRule, Join, Schema
from lt4rec_tf.serving.signatures import ServedModel
from tests.support.feeds import SCHEMA, good_row, line, opened, write_lines
from tests.support.schemas import SMALL_SCHEMA
from tests.support.served_networks import MORE_FEATURES, raw_rows, trained_network

HASH = IdRule("hash", buckets=1000)
USER = """
[[features]]
name = "user"
dtype = "string"
side = "user"
ids = { kind = "hash", buckets = 1000 }

[[features]]
name = "city"
dtype = "string"
side = "user"
ids = { kind = "vocabulary", vocabulary = ["1", "2", "3"] }

[[joins]]
file = "users.txt"
format = "csv"
key = "user"
"""


def texts(*values, rule=HASH, missing="", nulls=()):
    made = Feature("f", "f", "string", False, 1, "", "item", "f", missing, rule)
    schema = Schema(None, "s", "csv", (), (), True, (made,), (), (), (), None, None, nulls)
    return features_to_ids(schema, {"f": tf.constant(values)})["f"].numpy().tolist()


ODD = ["7.0", " 7. ", "7", "-7.00", "007.0", "7.5", "7.10", "v7.0", "1e5", "", "9007199254740991.0"]
SAME = ["7", "7", "7", "-7", "007", "7.5", "7.10", "v7.0", "1e5", "", "9007199254740991"]
BEYOND = ["9007199254740992.0", "1" * 40 + ".0"]  # a float may mean a neighbour


def test_whole_numbers_are_written_in_one_way():
    found = id_text(tf.constant(ODD + BEYOND)).numpy().tolist()
    assert found == [value.encode() for value in SAME + BEYOND]
    assert [id_of(value) for value in ODD + BEYOND] == SAME + BEYOND
    assert id_text(tf.constant(["a", "7"])).numpy().tolist() == [b"a", b"7"]


def test_hashed_texts_are_ids():
    assert texts(*ODD) == texts(*SAME)
    assert len(set(texts("7", "007", "7.5", "1e5"))) == 4
    assert texts(BEYOND[0]) != texts("9007199254740992")
    assert texts("-1.0", "-1", "7", missing="-1")[:2] == [0, 0]
    assert texts("-1.0", "-1", "7", missing="-1.0")[:2] == [0, 0]
    assert texts("0.0", "0", nulls=("0.0",))[0] == 0


def test_a_vocabulary_that_tells_them_apart_is_kept():
    numbers = IdRule("vocabulary", vocabulary=("7", "8"))
    assert texts("7", "7.0", "8.0", "9.0", rule=numbers) == [2, 2, 3, 1]
    versions = IdRule("vocabulary", vocabulary=("7.0", "7", "8"))
    assert texts("7", "7.0", "8.0", rule=versions) == [3, 2, 1]


def logs(folder, ids, side_keys):
    """Two days of one log; users and videos are whole numbers, as each day writes them."""
    folder.mkdir()
    for day, write in enumerate(ids):
        rows = [
            good_row(n, user=write(n % 7), video=write(2**40 + n % 11), day=str(day))
            for n in range(day * 70, day * 70 + 70)
        ]
        write_lines(folder / f"{day}.csv", [line(row) for row in rows])
    users = "".join(f"{side_keys(n)},{n % 3 + 1}\n" for n in range(7))
    (folder / "users.txt").write_text("user,city\n" + users)
    rest = {"separator": 'separator = "|"', "zero_duration": "bad"}
    path = folder / "schema.toml"
    path.write_text(SCHEMA.format(format="csv", glob="*.csv", **rest) + USER)
    return load_schema(path)


def as_float(number):
    return f"{number}.0"


def test_a_log_whose_second_day_writes_floats_is_the_same(tmp_path):
    found = []
    for name, second in {"whole": str, "mixed": as_float}.items():
        made = logs(tmp_path / name, (str, second), second)
        rule = SplitRule("time", validation_from=1, test_from=2)
        source, audited = opened(made, tmp_path / name, rule)
        rows = [batch for split in ("train", "validation") for batch in batches(source, split, 70)]
        counts = audited.to_json()["features"]
        found.append((rows, counts, marginals.count(source)))

    (rows, counts, whole), (mixed_rows, mixed_counts, mixed) = found
    assert len(rows) == 2
    for batch, mixed_batch in zip(rows, mixed_rows, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, batch, mixed_batch)
    assert rows[0]["features"]["city"].numpy().min() == 2
    assert mixed_counts == counts
    assert counts["user"]["distinct"] == 7
    assert counts["video"]["new"]["validation"] == 0
    for name in ("user", "video", "city"):
        np.testing.assert_array_equal(mixed.counts[name], whole.counts[name])


def test_new_words_of_a_vocabulary_are_noted_as_ids(tmp_path):
    made = logs(tmp_path / "logs", (str, as_float), str)
    path = made.path
    city = 'kind = "vocabulary", vocabulary = ["1", "2", "3"]'
    path.write_text(path.read_text().replace(city, 'kind = "vocabulary", vocabulary = ["1"]'))
    users = tmp_path / "logs" / "users.txt"
    users.write_text(users.read_text().replace("4,2\n", "4,2.0\n"))
    source = open_source(load_schema(path), tmp_path / "logs", SplitRule())
    source = auditing.complete(source, auditing.audit(source))
    assert marginals.count(source).unseen["city"] == {"2": 40, "3": 40}


def test_a_second_key_of_a_side_table_is_named(tmp_path):
    (tmp_path / "users.csv").write_text("user,city\n6,1\n7,2\n6.0,3\n")
    side = load_side_table(tmp_path, Join("users.csv", "csv", "user"), {"city"})
    assert [(bad.record, bad.reason) for bad in side.left_out] == [(3, "duplicate_key")]
    found, missed = look_up(side, tf.constant(["7.0", "6.0", "8"]))
    assert found["city"].numpy().tolist() == [b"2", b"1", b""]
    assert missed.numpy().tolist() == [False, False, True]


def test_served_models_agree(tmp_path):
    path = tmp_path / "served.toml"
    path.write_text(SMALL_SCHEMA + MORE_FEATURES, encoding="utf-8")
    schema = load_schema(path).with_tasks(["cvr"])
    network = trained_network(schema, "single task")
    assert has_ids(schema.feature("user"))
    ask = ServedModel(network, schema).signatures("serving_default")["serving_default"]
    raw = raw_rows(schema, 4)
    answers = []
    for end in ("", ".0"):
        for name in ("user", "video"):
            raw[name] = np.array([f"{n}{end}".encode() for n in (7, 8, 2**53 - 1, -3)], object)
        sent = {name: tf.constant(values) for name, values in raw.items()}
        answers.append({name: values.numpy() for name, values in ask(**sent).items()})
    np.testing.assert_equal(*answers)
