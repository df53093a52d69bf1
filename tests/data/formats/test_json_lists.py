"""JSON lists in text columns against Python's json: cut in graph, drafted, read, converted."""

import functools
import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from lt4rec_tf.data.convert import command as convert
from lt4rec_tf.data.formats import json_lists
from lt4rec_tf.data.formats.column_types import ColumnType, guess, to_type
from lt4rec_tf.data.formats.examples import Ragged
from lt4rec_tf.data.formats.values import raw_feature
from lt4rec_tf.data.input.pipeline import raw_batches, request_rows
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.data.inspect import command as inspect
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import Feature, IdRule
from tests.support.feeds import opened

TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
VALUES = TEXT | st.integers() | st.floats() | st.booleans() | st.none()
PIECES = ["[", "]", ",", '"', "\\", "u0041", "\\ud83d\\ude00", "\\ud800", "1", "-", "0", ".5", "e3",
          "null", "true", " ", "\t", "\n", "\x01", "\x02", "{", "NaN", "é", '"a"', "'"]  # fmt: skip


@functools.cache
def traced():
    return tf.function(
        json_lists.cut, input_signature=[tf.TensorSpec((None,), tf.string)], autograph=False
    )


def cut(texts):
    lists, valid = traced()(tf.constant(texts, tf.string))
    return lists.to_list(), valid.numpy().tolist()


def by_python(text):
    """The values' texts as Python's json reads them; None: no list of single values."""
    try:
        values = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except ValueError:
        return None
    if not isinstance(values, list) or any(isinstance(v, list | dict) for v in values):
        return None
    texts = [str(v).lower() if isinstance(v, bool) else v for v in values if v not in (None, "")]
    try:
        return [text.encode() for text in texts]
    except UnicodeEncodeError:  # half of a pair
        return None


def assert_cut_as_python_does(texts):
    lists, valid = cut(texts)
    for text, values, is_list in zip(texts, lists, valid, strict=True):
        expected = by_python(text)
        assert (values, is_list) == (
            ([json_lists.BROKEN], False) if expected is None else (expected, True)
        ), text


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.lists(VALUES, max_size=5), st.booleans()), min_size=1, max_size=8))
def test_lists_that_json_wrote_are_read_back(lists):
    assert_cut_as_python_does([json.dumps(values, ensure_ascii=a) for values, a in lists])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=8), min_size=1, max_size=8))
def test_other_texts_are_told_from_lists_as_json_tells_them(texts):
    assert_cut_as_python_does([f"[{''.join(pieces)}]" for pieces in texts])


def test_a_column_is_read_by_value():
    feature = Feature("tags", "tags", "string", True, 3, "json", "item", "tags", "none",
                      IdRule("hash", buckets=9))  # fmt: skip
    texts = ['["music, live", "caf\\u00e9"]', "[]", "", '["a"', '["b", null, "c", "d", "e"]']
    raw, fault, absent = raw_feature(feature, tf.constant(texts))
    assert [[v.decode() for v in row] for row in raw.numpy().tolist()] == [
        ["music, live", "café", "none"],
        ["none"] * 3,
        ["none"] * 3,
        ["none"] * 3,
        ["b", "c", "d"],
    ]
    assert fault.numpy().tolist() == [False, False, False, True, False]
    assert absent.numpy().tolist() == [False, True, True, False, False]

    nested = tf.RaggedTensor.from_row_lengths(texts, [2, 0, 3])  # as TFRecords hold texts
    raw, fault, absent = raw_feature(feature, nested, whole_lists=True)
    assert raw.numpy()[2].tolist() == [b"none", b"b", b"c", b"d", b"e"]
    assert fault.numpy().tolist() == [False, False, True]
    assert absent.numpy().tolist() == [False, True, False]


def test_numbers_in_lists_are_numbers():
    feature = Feature("n", "n", "int64", True, 3, "json", "item", "n", -1,
                      IdRule("hash", buckets=9))  # fmt: skip
    raw, fault, _ = raw_feature(feature, tf.constant(["[1, true, 9007199254740993]", '[2, "x"]']))
    assert raw.numpy().tolist() == [[1, 1, 9007199254740993], [2, -1, -1]]
    assert fault.numpy().tolist() == [False, True]


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (['["news", "x"]', "[]"], ColumnType("string", "json")),
        (["[1, 2]", "[ 3 ]", "[null]"], ColumnType("int64", "json")),
        ([f"[{n}]" for n in range(20)] + ["[1, 2"], ColumnType("int64", "json")),  # one broken
        (["[1, 2]", "3"], ColumnType("string")),
        (["[0,1)", "[1,2)"], ColumnType("string")),
        (["[[1], [2]]"], ColumnType("string")),
    ],
)
def test_columns_of_json_lists_are_known(texts, kind):
    assert guess(np.array([text.encode() for text in texts], object)) == kind


def test_types_cut_lists_and_name_broken_ones():
    texts = np.array([b'["a", "b, c"]', b"[", b"[]"], object)
    column, bad = to_type(ColumnType("string", "json"), Ragged(texts, np.array([1, 1, 1])))
    assert column.values.tolist() == [b"a", b"b, c"]
    assert column.lengths.tolist() == [2, 0, 0]
    assert bad.tolist() == [False, True, False]


@pytest.fixture
def logs(tmp_path):
    """300 rows with lists of tags in JSON, of which one is broken, and videos in a side table."""
    lists = [["music, live", "café"], [], ["news"], ['say "hi"', "news", "a\\b"]]
    lines = ["user_id,video_id,time,click,tags"]
    for n in range(300):
        text = "[broken" if n == 7 else json.dumps(lists[n % 4])
        quoted = text.replace('"', '""')
        lines.append(f'u{n % 9},v{n % 5},{n},{n % 2},"{quoted}"')
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    return tmp_path, lists


def test_lists_go_from_a_log_through_the_draft_to_batches(logs, capsys):
    folder, lists = logs
    flags = [f"--files={folder}/a.csv", f"--schema_out={folder}/s.toml"]
    assert inspect.main(["inspect", *flags]) == 0
    assert "list of string, JSON" in capsys.readouterr().out
    schema = load_schema(folder / "s.toml")
    tags = schema.feature("tags")
    assert (tags.multivalued, tags.max_values, tags.separator) == (True, 3, "json")
    assert set(tags.ids.vocabulary) == {"music, live", "café", "news", 'say "hi"', "a\\b"}

    source, audit = opened(schema, folder)
    assert audit.feature_faults["tags"] == 1
    batch = next(iter(raw_batches(source, "train", 100)))
    for n, row in enumerate(batch["tags"].numpy().tolist()):
        expected = [] if n == 7 else lists[n % 4]
        assert [value.decode() for value in row if value] == expected
    whole = request_rows(source, "train", 4)["tags"].tolist()
    assert [[value.decode() for value in row if value] for row in whole] == lists


def test_lists_of_side_tables_are_cut(logs):
    folder, _ = logs
    (folder / "videos.csv").write_text('video_id,topics\nv0,"[""a, b"", ""c""]"\nv1,[]\n')
    text = (
        'name = "t"\nformat = "csv"\nfiles = ["a.csv"]\n'
        '[[joins]]\nfile = "videos.csv"\nformat = "csv"\nkey = "video_id"\n'
        '[[features]]\nname = "topics"\ndtype = "string"\nside = "item"\nmultivalued = true\n'
        'max_values = 2\nseparator = "json"\nids = { kind = "vocabulary", vocabulary = ["c"] }\n'
        '[[labels]]\nname = "click"\nkind = "binary"\ncolumn = "click"\n'
        '[[tasks]]\nname = "ctr"\nlabel = "click"\nkind = "binary"\nloss = "mse"\nmetric = "auc"\n'
    )
    (folder / "s.toml").write_text(text)
    schema = load_schema(folder / "s.toml")
    source, _ = opened(schema, folder, SplitRule(kind="none"))
    batch = next(iter(raw_batches(source, "train", 3)))
    assert batch["topics"].numpy().tolist() == [[b"a, b", b"c"], [b"", b""], [b"", b""]]


def test_conversion_cuts_lists_and_lists_broken_ones(logs):
    folder, lists = logs
    flags = [f"--files={folder}/a.csv", f"--schema_out={folder}/s.toml"]
    assert inspect.main(["inspect", *flags]) == 0
    argv = [f"--files={folder}/a.csv", f"--schema={folder}/s.toml", f"--output_dir={folder}/out"]
    assert convert.main(["convert", *argv, "--processes=1"]) == 0
    schema = load_schema(folder / "out" / "schema.toml")
    assert schema.feature("tags").separator == ""
    source, audit = opened(schema, folder / "out")
    assert audit.rows == 299
    first = next(iter(raw_batches(source, "train", 4)))["tags"].numpy().tolist()
    assert [[value.decode() for value in row if value] for row in first] == lists
    text = (folder / "out" / "quarantine.tsv").read_text()
    assert "8\ttags: found '[broken', expected a JSON list of string\t" in text
