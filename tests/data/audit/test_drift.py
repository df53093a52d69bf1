"""How far counts have moved, what logs hold, and which values join a vocabulary."""

import json
import math

import numpy as np
import pytest

from lt4rec_tf.data.audit import marginals
from lt4rec_tf.data.audit.drift import drift
from lt4rec_tf.metrics.population_stability import Shift, shift
from lt4rec_tf.reports.daily import drift_table, marginals_text
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import Feature, IdRule, SchemaError
from lt4rec_tf.schema.vocabularies import grow, growth_between, with_growth
from tests.support import feeds
from tests.support.feeds import good_row, line, opened, write_lines

VOCABULARY = """
[[features]]
name = "user"
dtype = "string"
side = "user"
ids = { kind = "vocabulary", vocabulary = ["u0", "u1"] }
"""


def test_the_index_by_hand():
    # p = (60.5, 40.5) / 101, q = (40.5, 60.5) / 101: (q - p) ln(q / p) twice.
    found = shift(np.array([60, 40]), np.array([40, 60]))
    assert found.index == pytest.approx(2 * 20 / 101 * math.log(60.5 / 40.5), rel=1e-12)
    assert found.cells == 2
    assert found.by_chance == pytest.approx(0.02 * (1 + 1.6448536 * math.sqrt(2)))


def test_the_index_agrees_with_numpy_where_no_cell_is_small():
    rng = np.random.default_rng(0)
    before, after = rng.integers(1000, 2000, 30), rng.integers(1000, 2000, 30)
    p, q = before / before.sum(), after / after.sum()
    # The added halves weigh nothing beside a thousand.
    assert shift(before, after).index == pytest.approx(np.sum((q - p) * np.log(q / p)), rel=2e-3)


def test_equal_counts_have_not_moved():
    found = shift(np.array([10, 20, 30]), np.array([100, 200, 300]))
    assert found.index == pytest.approx(0, abs=1e-3)
    assert found.verdict == ""


def test_rare_ids_are_one_cell():
    before = np.array([500, 500, *np.ones(100, int), *np.zeros(100, int)])
    after = np.array([500, 500, *np.zeros(100, int), *np.ones(100, int)])
    found = shift(before, after)
    assert found.cells == 3
    assert found.index == pytest.approx(0, abs=1e-12)


def test_a_frequent_new_id_has_a_cell_of_its_own():
    found = shift(np.array([1000, 0]), np.array([700, 300]))
    assert found.cells == 2
    assert found.index > 1
    assert found.verdict == "large"


def test_chance_stays_below_its_bound_in_95_of_100_cases():
    rng = np.random.default_rng(3)
    shares = rng.dirichlet(np.ones(50))
    below = 0
    for _ in range(400):
        found = shift(rng.multinomial(20000, shares), rng.multinomial(5000, shares))
        below += found.index < found.by_chance
    assert 0.92 <= below / 400 <= 0.98


@pytest.mark.parametrize(
    ("index", "by_chance", "verdict"),
    [(0.099, 0, ""), (0.1, 0, "some"), (0.25, 0.2, "large"), (0.3, 0.31, ""), (math.nan, 0, "")],
)
def test_verdicts_go_by_the_usual_thresholds(index, by_chance, verdict):
    assert Shift(index, by_chance, 9).verdict == verdict


def test_a_period_without_values_has_no_index():
    assert math.isnan(shift(np.zeros(3, int), np.array([1, 2, 3])).index)
    with pytest.raises(ValueError, match="equal shapes"):
        shift(np.zeros(3, int), np.zeros(2, int))


# What logs hold.


def vocabulary_schema(folder):
    path = feeds.schema(folder).path
    text = path.read_text().replace("[[labels]]", VOCABULARY + "\n[[labels]]", 1)
    path.write_text(text)
    return load_schema(path)


def counted(folder, rows):
    folder.mkdir(exist_ok=True)
    write_lines(folder / "log.csv", [line(row) for row in rows])
    return marginals.count(opened(vocabulary_schema(folder), folder)[0])


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A schema, and the marginals of 40 rows of which two cannot be used."""
    folder = tmp_path_factory.mktemp("kept")
    rows = [good_row(k) for k in range(40)]
    rows[0] = good_row(0, tags="", length="-3", click="0", play_time="")
    rows[1] = good_row(1, click="7")  # of no use, so it is not counted
    rows[2] = good_row(2, user="")
    return vocabulary_schema(folder), counted(folder, rows)


@pytest.fixture(scope="module")
def schema(kept):
    return kept[0]


@pytest.fixture(scope="module")
def held(kept):
    return kept[1]


def test_marginals_are_counts_of_usable_rows(held):
    # Row 0 has no duration above 0, which the schema calls bad; row 1 has no click.
    used = [k for k in range(40) if k not in (0, 1)]
    assert held.rows == len(used)
    assert (held.first_time, held.last_time) == (0.0, 3.0)
    clicked = [k for k in used if k % 2]
    assert held.tasks["ctr"] == {"rows": 38, "label_mean": pytest.approx(len(clicked) / 38)}
    assert held.tasks["cvr"] == {"rows": len(clicked), "label_mean": pytest.approx(0.25)}
    numbers = np.zeros(100000 + 2, int)
    numbers[[k + 2 for k in used]] = 1
    np.testing.assert_array_equal(held.counts["number"], numbers)


def test_unknown_and_missing_values_are_counted_by_value(held):
    users = [f"u{k % 7}" for k in range(3, 40)]
    by_user = {name: users.count(name) for name in set(users)}
    expected = [1, sum(by_user[f"u{k}"] for k in range(2, 7)), by_user["u0"], by_user["u1"]]
    assert held.counts["user"].tolist() == expected
    assert held.unseen["user"] == {f"u{k}": by_user[f"u{k}"] for k in range(2, 7)}
    assert held.missing("user") == pytest.approx(1 / 38)


def test_lists_count_their_values_and_numbers_their_bins(tmp_path):
    rows = [good_row(0, tags=""), good_row(1, tags="a|b|b"), good_row(2, length="1")]
    found = counted(tmp_path, rows)
    assert found.counts["tags"][0] == 1
    assert found.counts["tags"].sum() == 1 + 3 + 2
    # log1p(1) = 0.69 lies in [0.5, 0.75), the 15th of the bins from -3 on; 100 beyond the last.
    bins = found.counts["length"]
    assert bins[np.searchsorted(marginals.NUMBER_EDGES, math.log1p(1), side="right") + 1] == 1
    assert bins[16] == 1
    assert bins[-1] == 2


def test_places_among_bins_are_counted_by_bin():
    rule = IdRule("piecewise_linear", bins=3)
    place = Feature("f", "f", "float32", False, 1, "", "item", "f", math.nan, rule)
    places = np.array([0.0, 0.9, 1.0, 2.5, 3.0, np.nan])
    ids = marginals._flat_ids(place, places)
    counts = np.bincount(ids, minlength=marginals.id_count(place))
    assert counts.tolist() == [1, 2, 1, 2]  # missing, then the bins


def test_marginals_come_back_from_their_file(tmp_path, schema, held):
    marginals.write(tmp_path / "kept.json", held)
    found = marginals.read(tmp_path / "kept.json", schema)
    assert found.unseen == held.unseen
    for name, counts in held.counts.items():
        np.testing.assert_array_equal(found.counts[name], counts)
    assert found.tasks == held.tasks
    assert found.rows == held.rows
    assert found.row_sums == held.row_sums != {}


def test_values_join_by_frequency_and_then_by_name(schema, held):
    least = min(held.unseen["user"].values())
    found = marginals.new_values(schema, held, least)
    expected = sorted(held.unseen["user"], key=lambda v: (-held.unseen["user"][v], v))
    assert found == {"user": tuple(expected)}
    assert marginals.new_values(schema, held, 0) == {}
    assert marginals.new_values(schema, held, 1000) == {}


def test_grown_vocabularies_count_as_if_they_had_read_the_logs(schema, held):
    after = grow(schema, {"user": ("u5", "u3")})
    found = marginals.recounted(held, after)
    again = marginals.count(opened(after, schema.path.parent)[0])
    np.testing.assert_array_equal(found.counts["user"], again.counts["user"])
    assert found.unseen == again.unseen


def test_values_beyond_the_bound_are_counted_together(tmp_path, monkeypatch):
    monkeypatch.setattr(marginals, "MOST_UNSEEN", 2)
    found = counted(tmp_path, [good_row(k) for k in range(14)])
    assert len(found.unseen["user"]) == 2
    assert found.not_noted == {"user": 6}


def test_the_largest_drift_stands_first(tmp_path, schema, held):
    moved = counted(tmp_path / "moved", [good_row(k, video="v1", user="u9") for k in range(40)])
    found = drift(schema, held, moved)
    indices = [entry["index"] for entry in found["features"]]
    assert indices == sorted(indices, reverse=True)
    assert {entry["feature"] for entry in found["features"][:2]} == {"video", "user"}
    by_name = {entry["feature"]: entry for entry in found["features"]}
    assert by_name["user"]["unknown"] == 1.0
    assert by_name["video"]["unknown"] is None
    assert by_name["video"]["verdict"] == "large"
    assert found["rows"] == {"before": 38, "after": 40}
    lines = drift_table(found).splitlines()
    assert lines[2].split()[1] in ("video", "user")
    assert "rows: 38 before, 40 now" in marginals_text(found)
    json.dumps(found, allow_nan=False)


def test_a_first_period_has_nothing_to_be_compared_with(schema, held):
    found = drift(schema, None, held)
    assert found["rows"] == {"before": None, "after": 38}
    assert "index" not in found["features"][0]
    assert " - " in drift_table(found)


# Vocabularies in a schema's text.

ODD = (
    'a "quoted" value',
    "back\\slash",
    "line\nfeed",
    "\x7f",
    "\u4e2d\u6587",
    "\U0001f600",
    "\x00",
)


def test_any_value_comes_back_from_a_schema(tmp_path):
    schema = vocabulary_schema(tmp_path)
    path = tmp_path / "grown.toml"
    path.write_text(with_growth(schema.path.read_text(), {"user": ODD}), encoding="utf-8")
    found = load_schema(path)
    assert found.feature("user").ids.vocabulary == ("u0", "u1", *ODD)
    assert growth_between(schema, found) == {"user": ODD}
    assert found.features == grow(schema, {"user": ODD}).features


def test_growth_adds_to_growth(tmp_path):
    schema = vocabulary_schema(tmp_path)
    text = with_growth(schema.path.read_text(), {"user": ["u2"]})
    schema.path.write_text(with_growth(text, {"user": ["u3"]}))
    assert load_schema(schema.path).feature("user").ids.vocabulary == ("u0", "u1", "u2", "u3")


@pytest.mark.parametrize(
    ("growth", "message"),
    [
        ({"user": ["u1"]}, "found 'u1', expected values that 'user' does not hold yet"),
        ({"video": ["v1"]}, "found 'video', expected a vocabulary: one of user"),
        ({"nothing": ["v1"]}, "found 'nothing', expected a vocabulary"),
    ],
)
def test_growth_that_cannot_be_is_refused(tmp_path, growth, message):
    schema = vocabulary_schema(tmp_path)
    schema.path.write_text(with_growth(schema.path.read_text(), growth))
    with pytest.raises(SchemaError, match=message):
        load_schema(schema.path)


def test_a_vocabulary_that_changed_is_no_growth(tmp_path):
    schema = vocabulary_schema(tmp_path)
    other = grow(schema, {"user": ("u2",)})
    assert growth_between(schema, schema) == {}
    with pytest.raises(ValueError, match="does not begin with"):
        growth_between(other, schema)
