"""Filters as a schema says them."""

import pytest

from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import Filter, SchemaError, needed_columns
from lt4rec_tf.schema.writer import to_toml
from tests.support.feeds import filtered_schema

ALL = (
    ("duration", "==", "value = 5"),
    ("duration", "!=", "value = 5.5"),
    ("duration", "<", "value = 400"),
    ("duration", "<=", "value = -1e3"),
    ("duration", ">", "value = 0"),
    ("duration", ">=", "value = true"),
    ("tab", "in", "values = [1, 2, 4.5]"),
    ("kind", "not_in", "values = ['ad', 'a \"b\"', 'Größe']"),
    ("kind", "!=", "value = 'live'"),
)


def test_filters_are_read_and_written_as_they_are(tmp_path):
    made = filtered_schema(tmp_path, *ALL)
    assert made.filters[0] == Filter("duration", "==", (5,))
    assert made.filters[5] == Filter("duration", ">=", (1,))
    assert made.filters[7] == Filter("kind", "not_in", ("ad", 'a "b"', "Größe"))
    assert made.filters[6].text == "tab in 1, 2, 4.5"

    (tmp_path / "again.toml").write_text(to_toml(made), encoding="utf-8")
    again = load_schema(tmp_path / "again.toml")
    assert again.filters == made.filters
    assert [rule.text for rule in again.filters] == [rule.text for rule in made.filters]


def test_their_columns_are_needed_and_tasks_keep_them(tmp_path):
    made = filtered_schema(tmp_path, *ALL)
    assert {"duration", "tab", "kind"} <= needed_columns(made)
    assert made.with_tasks(["ctr"]).filters == made.filters


@pytest.mark.parametrize(
    ("rule", "key", "expected"),
    [
        (("tab", "=", "value = 1"), "filters[0].comparison", "found '=', expected one of ==, !="),
        (("tab", "==", "values = [1]"), "filters[0].value", "found nothing, expected a text that"),
        (("tab", "==", "value = 1\nvalues = [1]"), "filters[0].values", "an unknown key"),
        (("tab", "in", "value = 1"), "filters[0].values", "found nothing, expected a list"),
        (("tab", "in", "values = []"), "filters[0].values", "found [], expected a list"),
        (("tab", "in", "values = [1, 'a']"), "filters[0].values", "distinct texts, or of distinct"),
        (("tab", "in", "values = [1, 1.0]"), "filters[0].values", "found [1, 1.0]"),
        (("tab", "in", "values = [true, 1]"), "filters[0].values", "found [True, 1]"),
        (("tab", "in", "values = [[1]]"), "filters[0].values", "found [[1]]"),
        (("tab", "<", "value = 'a'"), "filters[0].value", "found 'a', expected a number between"),
        (("tab", "==", "value = ''"), "filters[0].value", "found '', expected a text that is not"),
        (("tab", "==", "value = nan"), "filters[0].value", "found nan"),
        (("tab", "<", "value = inf"), "filters[0].value", "found inf"),
        (("tab", "==", f"value = {2**53}"), "filters[0].value", "between -2^53 and 2^53"),
        (("tab", "==", "value = 2026-11-20"), "filters[0].value", "found datetime.date"),
        (("tags", "==", "value = 't0'"), "filters[0].column", "feature tags reads a list there"),
        (("kind", "==", "value = 'NULL'"), "filters[0].value", "`nulls` makes this one an absent"),
    ],
)
def test_a_wrong_filter_fails_with_file_key_and_expectation(tmp_path, rule, key, expected):
    with pytest.raises(SchemaError) as error:
        filtered_schema(tmp_path, rule, nulls=("NULL",))
    message = str(error.value)
    for part in ("small.toml: ", key, expected):
        assert part in message


def test_the_same_filter_twice_is_refused(tmp_path):
    with pytest.raises(SchemaError, match="filters: found 2 times tab == 1, expected distinct"):
        filtered_schema(tmp_path, ("tab", "==", "value = 1"), ("tab", "==", "value = 1"))
