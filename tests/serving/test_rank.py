"""The signature `rank`: a request's candidates against the same rows asked one by one."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.core.flags import ConfigError, parse_flags
from lt4rec_tf.experiment import publishing
from lt4rec_tf.experiment.publishing import ExportFlags, export_model
from lt4rec_tf.serving.expression import parse_expression
from lt4rec_tf.serving.publish import publish
from lt4rec_tf.serving.rank import LOWEST, Ranking, rank_specs, ranking_of, score, sides_of
from lt4rec_tf.serving.signatures import ServedModel, answer_names
from lt4rec_tf.serving.towers import HALVED
from tests.support.served_networks import (
    NETWORKS,
    SAVED_WHOLE,
    answer,
    expected_answers,
    raw_rows,
    request,
    trained_network,
)

pytestmark = pytest.mark.slow(minutes=1)

LENGTH = Ranking({"ctr": 0.5, "cvr": 2.0}, "length", 1.5)


@pytest.fixture(scope="module", params=NETWORKS)
def model(request, schema):
    """(name, network away from its initialisation, schema, what serves it, its signatures)."""
    schema = schema.with_tasks(NETWORKS[request.param][0])
    network = trained_network(schema, request.param)
    tasks = [task for task in ("ctr", "cvr") if task in network.tasks]
    ranking = Ranking({task: LENGTH.exponents[task] for task in tasks}, "length", 1.5)
    served_model = ServedModel(network, schema, ranking=ranking)
    of_rows = [name.removeprefix("p") for name in answer_names(schema, network.tasks)]
    signatures = served_model.signatures("rank", "serving_default", *of_rows)
    return request.param, network, schema, served_model, signatures


@pytest.fixture(scope="module")
def served(model):
    """(network, schema, rank)."""
    _, network, schema, _, signatures = model
    return network, schema, signatures["rank"]


def test_rows_are_answered_as_the_network_predicts(model, tmp_path):
    """By every signature of rows; and by a version of what test_signatures.py does not save."""
    name, network, schema, served_model, signatures = model
    raw = raw_rows(schema, 7)
    expected = expected_answers(network, schema, raw)
    for signature, outputs in expected.items():
        answers = answer(signatures[signature], raw)
        assert set(answers) == set(outputs)
        for output, values in outputs.items():
            np.testing.assert_allclose(answers[output], values, rtol=0, atol=1e-6)
    if name not in SAVED_WHOLE:
        kept = {"serving_default": signatures["serving_default"]}
        sample, answers = ({"serving_default": rows} for rows in (raw, expected["serving_default"]))
        version = publish(served_model, kept, tmp_path / "feed", sample, answers)
        assert version.name == "1"  # published: what was loaded answers the same


@pytest.mark.parametrize(
    ("requests", "candidates"), [(1, 5), (3, 4), (2, 1), (1, 0), (0, 3), (1, HALVED + 1)]
)
def test_candidates_are_answered_as_rows_of_their_own(served, requests, candidates):
    network, schema, rank = served
    sent, rows = request(schema, requests, candidates, seed=requests + candidates)
    answers = answer(rank, sent)
    assert set(answers) == {"score", *(f"p{task}" for task in network.tasks)}
    for task, outputs in expected_answers(network, schema, rows).items():
        if task in network.tasks:
            found = answers[f"p{task}"]
            assert (found.dtype, found.shape) == (np.float32, (requests, candidates))
            expected = outputs[f"p{task}"].reshape(requests, candidates)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_the_score_is_eq_3(served):
    network, schema, rank = served
    sent, _ = request(schema, 2, 40)
    answers = answer(rank, sent)
    length = sent["length"].astype(np.float64)
    expected = np.ones((2, 40))
    for task in network.tasks:
        expected *= answers[f"p{task}"].astype(np.float64) ** LENGTH.exponents.get(task, 0.0)
    with np.errstate(invalid="ignore"):
        known = np.isfinite(length) & (length > 0)
        expected = np.where(known, expected * length**1.5, 0)
    assert known.any()
    assert not known.all()  # zero, negative, infinite and absent lengths score 0
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(answers["score"], expected.astype(np.float32), rtol=1e-5)


def test_requests_do_not_depend_on_each_other(served):
    _, schema, rank = served
    sent, _ = request(schema, 3, 4)
    whole = answer(rank, sent)
    alone = answer(rank, {name: values[1:2] for name, values in sent.items()})
    for name, values in whole.items():
        np.testing.assert_allclose(alone[name], values[1:2], rtol=1e-5, atol=1e-6)


def test_without_a_length_the_probabilities_alone_count(schema):
    schema = schema.with_tasks(["ctr", "cvr"])
    network = trained_network(schema, "sparse sharing")
    rank = ServedModel(network, schema, ranking=Ranking({"cvr": 1.0})).signatures("rank")["rank"]
    answers = answer(rank, request(schema, 1, 6)[0])
    np.testing.assert_allclose(answers["score"], answers["pcvr"], rtol=1e-6)


def test_a_length_that_is_no_feature_is_an_input_of_its_own(schema):
    schema = schema.with_tasks(["ctr", "cvr"])
    network = trained_network(schema, "sparse sharing")
    ranking = Ranking({"ctr": 1.0}, "seconds", 2.0, extra_input="seconds")
    rank = ServedModel(network, schema, ranking=ranking).signatures("rank")["rank"]
    sent, _ = request(schema, 1, 3)
    answers = answer(rank, sent | {"seconds": np.array([[2.0, 0.0, 10.0]], np.float32)})
    expected = answers["pctr"] * np.array([[4.0, 0.0, 100.0]])
    np.testing.assert_allclose(answers["score"], expected, rtol=1e-6)


def test_what_differs_between_candidates_has_a_dimension_more(schema):
    specs = rank_specs(schema, Ranking({}, "seconds", 1.0, extra_input="seconds"))
    for feature in schema.features:
        dimensions = 1 + feature.multivalued + (feature.side == "item")
        assert specs[feature.name].shape.rank == dimensions, feature.name
    assert specs["seconds"].shape.rank == 2
    sides = sides_of(schema)
    assert sorted([*sides.asking, *sides.ranked]) == list(range(len(schema.features)))
    assert {schema.features[place].side for place in sides.asking} == {"user", "context"}


@pytest.fixture(scope="module")
def of_two(schema):
    """(schema, rank) of two tasks and a length."""
    schema = schema.with_tasks(["ctr", "cvr"])
    network = trained_network(schema, "sparse sharing")
    return schema, ServedModel(network, schema, ranking=LENGTH).signatures("rank")["rank"]


@pytest.mark.parametrize(
    ("feature", "change"),
    [
        ("video", lambda values: values[0]),
        ("user", lambda values: values[:, np.newaxis]),
        ("length", lambda values: values[:, :-1]),  # one candidate short
        ("user", lambda values: np.repeat(values, 2)),  # a request too many
    ],
)
def test_a_request_whose_shapes_do_not_fit_is_refused(of_two, feature, change):
    schema, rank = of_two
    sent, _ = request(schema, 2, 4)
    sent[feature] = change(sent[feature])
    with pytest.raises((tf.errors.InvalidArgumentError, TypeError, ValueError)):
        answer(rank, sent)


def test_flags_say_how_candidates_are_scored(schema):
    two = schema.with_tasks(["ctr", "cvr"])
    assert ranking_of(two, (), "", 1.0) == Ranking({"ctr": 1.0, "cvr": 1.0})
    assert ranking_of(two, ("cvr=2.5",), "length", 0.5) == Ranking({"cvr": 2.5}, "length", 0.5)
    assert ranking_of(schema.with_tasks(["cvr"]), (), "", 1.0) == Ranking({"cvr": 1.0})
    # Of three tasks the first chain counts unless flags say otherwise.
    assert ranking_of(schema, (), "", 1.0) == Ranking({"ctr": 1.0, "cvr": 1.0})
    items = dataclasses.replace(
        two, features=tuple(feature for feature in two.features if feature.side == "item")
    )
    assert ranking_of(items, (), "", 1.0) is None


def test_a_duration_that_is_no_feature_is_asked_for_beside_the_features(schema):
    timed = dataclasses.replace(
        schema,
        labels=tuple(dataclasses.replace(label, duration="seconds") for label in schema.labels),
    )
    found = ranking_of(timed, (), "seconds", 1.0)
    assert found == Ranking({"ctr": 1.0, "cvr": 1.0}, "seconds", 1.0, extra_input="seconds")


@pytest.mark.parametrize(
    ("exponents", "length", "message"),
    [
        (("share=1",), "", r"--rank_exponents: found 'share', expected one of the tasks"),
        (("ctr=fast",), "", r"--rank_exponents: found 'ctr=fast', expected task=an exponent"),
        (("ctr=-1",), "", r"--rank_exponents: found 'ctr=-1', expected an exponent above 0"),
        ((), "lenght", r"--length_feature: found 'lenght', expected a numeric item feature"),
        ((), "user", r"--length_feature: found 'user'"),
        ((), "tags", r"--length_feature: found 'tags'"),
    ],
)
def test_flags_that_say_nothing_known_are_refused(schema, exponents, length, message):
    with pytest.raises(ConfigError, match=message):
        ranking_of(schema, exponents, length, 1.0)


def written(text, **more):
    return Ranking({}, expression=parse_expression(text, ["ctr", "cvr", "like", "length"]), **more)


def test_the_score_is_the_expression(schema):
    network = trained_network(schema, "three tasks")
    text = "ctr * (0.3 * like + log1p(length)) - min(cvr, 0.5) ** 2 / 4"
    ranking = ranking_of(schema, (), "length", 1.0, text)
    assert ranking == written(text, length="length")
    rank = ServedModel(network, schema, ranking=ranking).signatures("rank")["rank"]
    sent, _ = request(schema, 2, 40)
    answers = answer(rank, sent)
    ctr, cvr, like = (answers[f"p{task}"].astype(np.float64) for task in ("ctr", "cvr", "like"))
    length = sent["length"].astype(np.float64)
    known = np.isfinite(length) & (length > 0)
    assert known.any()
    assert not known.all()
    log = np.log1p(np.where(known, length, 0))
    expected = ctr * (0.3 * like + log) - np.minimum(cvr, 0.5) ** 2 / 4
    found = answers["score"]
    assert (found.dtype, found.shape) == (np.float32, (2, 40))
    np.testing.assert_allclose(found[known], expected[known], rtol=1e-6, atol=1e-6)
    # A candidate of unknown length sorts last, and JSON can say so.
    np.testing.assert_array_equal(found[~known], np.float32(LOWEST))
    assert json.loads(json.dumps(found.tolist(), allow_nan=False)) == found.tolist()


def scored(ranking, ctr, **raw):
    chances = {"ctr": tf.constant(ctr), "cvr": tf.ones_like(ctr)}
    found = score(ranking, chances, raw)
    assert found.dtype == tf.float32
    return found.numpy().tolist()


def test_a_score_that_is_infinite_or_nan_sorts_last():
    chances = [[0.5, 0.0, 1.0], [0.0, 0.25, 0.0]]
    assert scored(written("cvr / ctr"), chances) == [[2, LOWEST, 1], [LOWEST, 4, LOWEST]]
    assert scored(written("ctr / 0"), chances) == [[LOWEST] * 3] * 2
    assert scored(written("(ctr - 1) / ctr ** 2"), chances)[0] == [-2, LOWEST, 0]
    # Only what is finished counts.
    assert scored(written("min(1 / ctr, 3)"), chances) == [[2, 3, 1], [3, 3, 3]]
    # An amount may be any number.
    assert scored(written("sqrt(ctr)"), [[-1.0, 4.0]]) == [[LOWEST, 2]]


def test_an_unknown_length_sorts_last_even_where_the_expression_is_finite():
    ranking = written("ctr * length ** 0", length="seconds", extra_input="seconds")
    seconds = np.array([[2, 0, -1, np.nan, np.inf]], np.float32)
    found = scored(ranking, [[0.5] * 5], seconds=seconds)
    assert found == [[0.5, LOWEST, LOWEST, LOWEST, LOWEST]]
    whole = written("ctr / length", length="length")
    assert scored(whole, [[0.5, 0.5]], length=np.array([[4, -1]])) == [[0.125, LOWEST]]


@pytest.mark.parametrize("shape", [(2, 3), (1, 1), (0, 3), (1, 0)])
def test_a_constant_scores_every_candidate(shape):
    chances = np.zeros(shape, np.float32)
    found = score(written("1 - 3"), {"ctr": tf.constant(chances)}, {})
    np.testing.assert_array_equal(found, np.full(shape, -2, np.float32))


def test_in_a_bfloat16_version_the_expression_is_computed_in_float32():
    chances = {"ctr": tf.constant([[0.5, 0.0]], tf.bfloat16)}
    found = score(written("ctr + 1 / 1024"), chances, {})
    assert found.dtype == tf.float32
    assert found.numpy().tolist() == [[0.5 + 2**-10, 2**-10]]


def test_an_expression_reads_tasks_and_the_length_that_is_given(schema):
    two = schema.with_tasks(["ctr", "cvr"])
    assert ranking_of(two, (), "", 1.0, "ctr + 2 * cvr") == written("ctr + 2 * cvr")
    timed = dataclasses.replace(
        two,
        labels=tuple(dataclasses.replace(label, duration="seconds") for label in two.labels),
    )
    found = ranking_of(timed, (), "seconds", 1.0, "ctr * length")
    assert found == written("ctr * length", length="seconds", extra_input="seconds")
    # A task of this name is what the expression means.
    tasks = (dataclasses.replace(two.tasks[0], name="length"), *two.tasks[1:])
    named = dataclasses.replace(two, tasks=tasks)
    assert ranking_of(named, (), "", 1.0, "length * 2") == written("length * 2")
    with pytest.raises(ConfigError, match=r"--length_feature: found 'length', expected none"):
        ranking_of(named, (), "length", 1.0, "length * 2")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((("ctr=1",), "", 1.0, "cvr"), r"--rank_exponents: found ctr=1.*with --rank_expression"),
        (((), "length", 0.5, "length"), r"--length_exponent: found 0.5, .*write length \*\* 0.5"),
        (((), "", 0.5, "ctr"), r"--length_exponent: found 0.5, expected 1 with --rank_expression"),
        (((), "", 1.0, "ctr * length"), r"--rank_expression: found 'length'.*--length_feature"),
        (((), "length", 1.0, "ctr"), r"--length_feature: found 'length', expected none"),
        (((), "user", 1.0, "length"), r"--length_feature: found 'user', expected a numeric item"),
        (((), "", 1.0, "ctr * like"), r"found 'like' at column 7, .* names ctr, cvr, length"),
        (((), "", 1.0, "ctr * age"), r"found 'age' at column 7"),  # a feature is no name
        (((), "", 1.0, " "), r"--rank_expression: found nothing"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(schema, flags, message):
    with pytest.raises(ConfigError, match=message):
        ranking_of(schema.with_tasks(["ctr", "cvr"]), *flags)


def test_an_expression_without_a_signature_to_score_in_is_refused(schema):
    items = tuple(feature for feature in schema.features if feature.side == "item")
    with pytest.raises(ConfigError, match=r"--rank_expression: expected none"):
        ranking_of(dataclasses.replace(schema, features=items), (), "", 1.0, "ctr")


def test_export_takes_the_expression_from_its_flag(schema, monkeypatch):
    text = "max(ctr, 2 * cvr, 0.1) / length"  # commas part no values of this flag
    argv = ["export", f"--rank_expression={text}", "--length_feature=length"]
    values = parse_flags(argv, "", [ExportFlags])
    names = [field.name for field in dataclasses.fields(ExportFlags)]
    flags = ExportFlags(**{name: values[name] for name in names})
    served = []

    class Stopped(Exception):
        """Raised once it is known what would be served."""

    def serve(network, schema, **how):
        served.append(how["ranking"])
        raise Stopped

    network = SimpleNamespace(tasks=("ctr", "cvr"), model=SimpleNamespace(layers=()))
    monkeypatch.setattr(publishing, "load_model", lambda *_: network)
    monkeypatch.setattr(publishing, "maps_of_model", lambda *_: None)
    monkeypatch.setattr(publishing, "ServedModel", serve)
    flags = dataclasses.replace(flags, model="s_weight")
    with pytest.raises(Stopped):
        export_model(None, None, schema, None, None, flags)
    assert served == [written(text, length="length")]
