"""Scores by scenario: `rank` orders each candidate by the tasks of its own."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.experiment.publishing import ExportFlags, chosen_ranking
from lt4rec_tf.schema.types import Filter
from lt4rec_tf.serving.expression import INSIDE, names_in, parse_expression
from lt4rec_tf.serving.rank import (
    LOWEST,
    Ranking,
    default_tasks,
    ranking_of,
    score,
)
from lt4rec_tf.serving.scenarios import UnknownScenarioError, conditions_by_task, is_inside
from lt4rec_tf.serving.signatures import ServedModel
from tests.support.networks import build_small
from tests.support.served_networks import request

PHONE = Filter("device", "==", ("phone",))  # of the request
OTHERS = Filter("device", "!=", ("phone",))
LONG = Filter("length", ">", (60,))  # of a candidate
UNKNOWN = Filter("tab", "==", (1,))  # no feature


def with_scenarios(schema, **wheres):
    """The schema with CTR and CVR of each scenario behind those over all rows."""
    ctr, cvr = schema.task("ctr"), schema.task("cvr")
    tasks = [ctr, cvr]
    for name, where in wheres.items():
        tasks += [
            dataclasses.replace(task, name=f"{task.name}_{name}", where=(where,))
            for task in (ctr, cvr)
        ]
    return dataclasses.replace(schema, tasks=tuple(tasks))


def of_scenarios(schema, **wheres):
    made = with_scenarios(schema, **wheres)
    return dataclasses.replace(made, tasks=made.tasks[2:])


def inside(schema, *where, **raw):
    task = dataclasses.replace(schema.task("ctr"), where=where)
    made = dataclasses.replace(schema, tasks=(task,), nulls=("none",))
    (conditions,) = conditions_by_task(made, ["ctr"], "rank_exponents").values()
    return is_inside(conditions, raw).numpy().tolist()


def test_a_request_tells_the_scenario_as_a_log_does(schema):
    devices = np.array([b"phone", b"", b"none", b"tv"], object)
    assert inside(schema, PHONE, device=devices) == [[True], [False], [False], [False]]
    assert inside(schema, OTHERS, device=devices) == [[False], [True], [True], [True]]

    hours = np.array([7, -1, 0], np.int64)  # -1: absent
    assert inside(schema, Filter("hour", "<", (8,)), hour=hours) == [[True], [False], [True]]
    assert inside(schema, Filter("hour", "==", ("7",)), hour=hours)[0] == [True]
    assert inside(schema, Filter("hour", "in", (0, 7)), hour=hours) == [[True], [False], [True]]

    lengths = np.array([[60.5, 60.0, np.nan], [np.inf, -1.0, 61.0]], np.float32)
    assert inside(schema, LONG, length=lengths) == [[True, False, False], [True, False, True]]
    assert inside(schema, LONG, PHONE, length=lengths, device=devices[:2]) == [
        [True, False, False],
        [False, False, False],
    ]


def test_the_most_exact_feature_of_a_column_tells(schema):
    (hour,) = [feature for feature in schema.features if feature.name == "hour"]
    text = dataclasses.replace(hour, name="hour_text", dtype="string", missing="")
    features = (*schema.features, text)
    for value, expected in ((7, "hour"), ("7", "hour_text")):
        task = dataclasses.replace(schema.task("ctr"), where=(Filter("hour", "==", (value,)),))
        both = dataclasses.replace(schema, features=features, tasks=(task,))
        ((condition,),) = conditions_by_task(both, ["ctr"], "rank_exponents").values()
        assert condition.feature.name == expected


def test_without_flags_candidates_are_scored_by_their_own_scenario(schema):
    assert default_tasks(with_scenarios(schema, phone=PHONE)) == ["ctr", "cvr"]
    two = of_scenarios(schema, phone=PHONE, others=OTHERS)
    names = ["ctr_phone", "cvr_phone", "ctr_others", "cvr_others"]
    assert default_tasks(two) == names
    ranking = ranking_of(two, (), "", 1.0)
    assert ranking.exponents == dict.fromkeys(names, 1.0)
    assert [*ranking.scenarios] == names

    # Of one scenario a score needs no feature that tells it.
    assert ranking_of(two, ("ctr_phone=2",), "", 1.0) == Ranking({"ctr_phone": 2.0})
    one = of_scenarios(schema, unknown=UNKNOWN)
    assert ranking_of(one, (), "", 1.0).scenarios == {}


CHANCES = {
    "ctr_phone": [[0.5, 0.25], [0.5, 0.25]],
    "ctr_long": [[0.1, 0.2], [0.1, 0.2]],
    "cvr_phone": [[1.0, 1.0], [1.0, 1.0]],
    "ctr": [[0.5, 0.5], [0.5, 0.5]],
}
RAW = {
    "device": np.array([b"phone", b"tv"], object),
    "length": np.array([[61.0, 5.0], [5.0, 61.0]], np.float32),
}


def scored(ranking):
    chances = {task: tf.constant(values) for task, values in CHANCES.items()}
    return score(ranking, chances, RAW).numpy()


def test_eq_3_counts_the_tasks_of_the_candidates_scenario(schema):
    made = with_scenarios(schema, phone=PHONE, long=LONG)
    both = scored(ranking_of(made, ("ctr_phone=1", "ctr_long=2"), "", 1.0))
    np.testing.assert_allclose(both, [[0.5 * 0.01, 0.25], [0.0, 0.04]], rtol=1e-6)
    # A task over all rows counts for all of them.
    mixed = scored(ranking_of(made, ("ctr=1", "ctr_long=1"), "", 1.0))
    np.testing.assert_allclose(mixed, [[0.05, 0.5], [0.5, 0.1]], rtol=1e-6)


def test_without_exponents_all_score_alike():
    np.testing.assert_array_equal(scored(Ranking({})), np.ones((2, 2)))


def test_a_column_that_is_no_feature_is_named(schema):
    made = of_scenarios(schema, one=UNKNOWN, other=Filter("tab", "==", (2,)))
    with pytest.raises(UnknownScenarioError, match="a feature on column tab, which tells that of"):
        ranking_of(made, (), "", 1.0)


def test_a_version_without_such_a_feature_has_no_rank(schema, capsys):
    made = of_scenarios(schema, one=UNKNOWN, other=Filter("tab", "==", (2,)))
    assert chosen_ranking(made, ExportFlags()) is None
    assert "published without the signatures rank and score: " in capsys.readouterr().out
    with pytest.raises(UnknownScenarioError):
        chosen_ranking(made, ExportFlags(rank_exponents=("ctr_one=1", "ctr_other=1")))
    assert chosen_ranking(made, ExportFlags(rank_exponents=("ctr_one=1",))) == Ranking(
        {"ctr_one": 1.0}
    )


def test_an_expression_chooses_by_scenario(schema):
    made = of_scenarios(schema, phone=PHONE, long=LONG)
    text = "scenario(ctr_phone, ctr_long) * 2 + cvr_phone"
    ranking = ranking_of(made, (), "", 1.0, text)
    assert [*ranking.scenarios] == ["ctr_phone", "ctr_long"]
    names = names_in(ranking.expression)
    assert set(names) == {f"{INSIDE}ctr_phone", "ctr_phone", f"{INSIDE}ctr_long", "ctr_long"} | {
        "cvr_phone"
    }
    found = scored(ranking)
    np.testing.assert_allclose(found, [[2.0, 1.5], [LOWEST, 1.4]], rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scenario()", r"expected in parentheses tasks of scenarios \(ctr_phone\)"),
        ("scenario(ctr)", r"found 'scenario\(ctr\)' at column 1, expected in parentheses tasks"),
        ("scenario(ctr_phone, 1)", r"expected in parentheses tasks of scenarios"),
        ("scenario(ctr_phone, x=ctr_phone)", "expected numbers"),
        ("scenario", "expected one of the names"),
    ],
)
def test_a_choice_of_anything_else_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_expression(text, ["ctr", "ctr_phone"], ["ctr_phone"])
    with pytest.raises(ConfigError):
        parse_expression("scenario(ctr)", ["ctr"])


@pytest.mark.slow(minutes=1)
def test_rank_scores_as_the_networks_answers_say(schema):
    made = of_scenarios(schema, phone=PHONE, others=OTHERS)
    network = build_small(made, seed=3)
    ranking = ranking_of(made, (), "", 1.0)
    rank = ServedModel(network, made, ranking=ranking).signatures("rank")["rank"]
    sent, _ = request(made, 6, 5)
    sent["device"][:2] = b"phone"
    answers = rank(**{name: tf.constant(values) for name, values in sent.items()})
    phone = np.array([device == b"phone" for device in sent["device"]])[:, np.newaxis]
    assert phone.any()
    assert not phone.all()
    expected = np.where(
        phone,
        answers["pctr_phone"] * answers["pcvr_phone"],
        answers["pctr_others"] * answers["pcvr_others"],
    )
    np.testing.assert_allclose(answers["score"].numpy(), expected, rtol=1e-5)
