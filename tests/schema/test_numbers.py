"""Rules of numbers that an audit fits: in schemas, and as a file of a run."""

import json
import math

import pytest

from lt4rec_tf.core.artifacts import RunError
from lt4rec_tf.schema.numbers import (
    Numbers,
    fitted_rules,
    numbers_of,
    read_numbers,
    with_numbers,
    write_numbers,
)
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import IdRule, SchemaError
from lt4rec_tf.schema.writer import to_toml
from tests.support.schemas import SMALL_SCHEMA

NUMERIC = '{ kind = "numeric", mean = 30.0, scale = 10.0 }'


def small(folder, rule):
    path = folder / "numbers.toml"
    path.write_text(SMALL_SCHEMA.replace(NUMERIC, rule))
    return load_schema(path)


@pytest.mark.parametrize(
    ("text", "rule", "rows"),
    [
        ('{ kind = "quantiles" }', IdRule("quantiles", bins=32), 33),
        ('{ kind = "quantiles", bins = 5 }', IdRule("quantiles", bins=5), 6),
        ('{ kind = "piecewise_linear", bins = 5 }', IdRule("piecewise_linear", bins=5), 7),
        (
            '{ kind = "standardised", transform = "log1p" }',
            IdRule("standardised", transform="log1p"),
            2,
        ),
    ],
)
def test_rules_are_read_and_written_back_and_their_rows_are_known_before_any_audit(
    tmp_path, text, rule, rows
):
    schema = small(tmp_path, text)
    assert fitted_rules(schema) == {"age": rule}
    assert schema.table_rows["age"] == rows
    again = tmp_path / "again.toml"
    again.write_text(to_toml(schema))
    assert load_schema(again).feature("age").ids == rule


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ('{ kind = "quantiles", bins = 1 }', "bins: found 1, expected an integer >= 2"),
        ('{ kind = "quantiles", bins = 1001 }', "bins: found 1001, expected at most 1000"),
        ('{ kind = "standardised", mean = 1.0 }', "mean"),
        ('{ kind = "standardised", transform = "log" }', "transform: found 'log', expected one of"),
    ],
)
def test_what_no_rule_can_be_is_refused(tmp_path, rule, message):
    with pytest.raises(SchemaError, match=message):
        small(tmp_path, rule)


@pytest.mark.parametrize("kind", ["quantiles", "piecewise_linear", "standardised"])
def test_lists_and_texts_have_no_one_number(tmp_path, kind):
    listed = SMALL_SCHEMA.replace('{ kind = "hash", buckets = 10 }', f'{{ kind = "{kind}" }}')
    path = tmp_path / "listed.toml"
    path.write_text(listed)
    with pytest.raises(SchemaError, match=rf"ids.kind: found '{kind}', expected for string one of"):
        load_schema(path)
    path.write_text(listed.replace('"tags"\ndtype = "string"', '"tags"\ndtype = "float32"'))
    with pytest.raises(SchemaError, match=rf"'{kind}', expected another kind: a list has no one"):
        load_schema(path)


def test_features_get_what_was_found_and_the_schema_itself_says_nothing_of_it(tmp_path):
    schema = small(tmp_path, '{ kind = "quantiles" }')
    found = Numbers(9, 1.0, 2.0, (0.5,))
    fitted = with_numbers(schema, {"age": found, "video": found})
    assert numbers_of(fitted) == {"age": found}
    assert fitted == schema


def test_floats_are_read_back_exactly(tmp_path):
    path = tmp_path / "numbers.json"
    found = {
        "a": Numbers(3, 0.1 + 0.2, math.pi * 1e-300, (-1e300, 1 / 3, 5e-324), True, True),
        "b/é": Numbers(),
    }
    write_numbers(path, found)
    assert read_numbers(path) == found
    assert read_numbers(tmp_path / "absent.json") == {}
    write_numbers(tmp_path / "absent.json", {})  # runs without such rules have no file
    assert not (tmp_path / "absent.json").exists()


def test_another_file_than_was_written_is_refused(tmp_path):
    path = tmp_path / "numbers.json"
    write_numbers(path, {"a": Numbers(3, 0.5)})
    content = json.loads(path.read_text())
    content["tables"]["a"]["mean"] = 0.25
    path.write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"numbers.json: found tables with sha256 \w{64}, expected"):
        read_numbers(path)
