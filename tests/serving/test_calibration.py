"""Maps in a served graph: every answer is calibrated, and what a score multiplies is."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, logit

from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.models.calibration import Calibration, Curve
from lt4rec_tf.serving.durations import DurationInput, duration_input
from lt4rec_tf.serving.rank import ranking_of
from lt4rec_tf.serving.requests import serialized_examples
from lt4rec_tf.serving.signatures import ServedModel
from tests.support.served_networks import predictions, raw_rows, request, trained_network

PLATT = Calibration("platt", (Curve((0.0,), (0.5,), 1.5),))
LINES = [Curve((-1.0, 1.0), (offset - 1, offset + 2), 0.5) for offset in (0.0, 1.0, -1.0)]
GROUPED = Calibration("duration", tuple(LINES), (15.25,))
MAPS = {"ctr": PLATT, "cvr": GROUPED}


@pytest.fixture(scope="module")
def timed(schema):
    """The schema with the length of a video, a feature, behind its ratio label."""
    labels = tuple(
        dataclasses.replace(label, duration="length") if label.kind == "ratio" else label
        for label in schema.labels
    )
    return dataclasses.replace(schema, labels=labels)


@pytest.fixture(scope="module")
def network(timed):
    return trained_network(timed, "three tasks")


def by_hand(network, schema, raw, unit=1.0):
    """Each task's calibrated predictions for rows."""
    found = predictions(network, schema, raw)
    z = {task: logit(np.asarray(p, np.float64)) for task, p in found.items()}
    seconds = raw["length"] * unit
    known = np.isfinite(seconds) & (seconds > 0)
    offset = np.where(known, np.where(seconds >= 15.25, -1.0, 1.0), 0.0)
    inner = np.interp(z["cvr"], [-1.0, 1.0], [-1.0, 2.0])
    beyond = 0.5 * (z["cvr"] - np.clip(z["cvr"], -1.0, 1.0))
    return {
        "ctr": expit(1.5 * z["ctr"] + 0.5),
        "cvr": expit(inner + beyond + offset),
        "like": found["like"],
    }


def asked(function, raw):
    answers = function(**{name: tf.constant(values) for name, values in raw.items()})
    return {name: values.numpy() for name, values in answers.items()}


def test_all_answers_of_rows_are_calibrated(timed, network):
    served = ServedModel(network, timed, calibrations=MAPS)
    wanted = ("serving_default", "ctr", "cvr", "ctcvr", "tf_example", "regress_cvr")
    signatures = served.signatures(*wanted)
    raw = raw_rows(timed, 60)
    expected = by_hand(network, timed, raw)
    assert {-3.0, 15.0, 60.5} < {*raw["length"]}  # of every group

    answers = asked(signatures["serving_default"], raw)
    answers["like"], answers["ctr"] = answers["plike"], answers["pctr"]
    for task in ("ctr", "cvr", "like"):
        np.testing.assert_allclose(answers[f"p{task}"], expected[task], rtol=0, atol=2e-6)
        if task != "like":
            alone = asked(signatures[task], raw)[f"p{task}"]
            np.testing.assert_allclose(alone, expected[task], rtol=0, atol=2e-6)
    product = asked(signatures["ctcvr"], raw)["pctcvr"]
    np.testing.assert_allclose(product, expected["ctr"] * expected["cvr"], rtol=0, atol=2e-6)
    examples = serialized_examples(timed, raw)
    assert asked(signatures["tf_example"], {"examples": examples})["pcvr"].shape == (60,)
    regressed = asked(signatures["regress_cvr"], {"inputs": examples})["outputs"]
    np.testing.assert_allclose(regressed, expected["cvr"], rtol=0, atol=2e-6)


@pytest.mark.parametrize("expression", ["", "ctr * (1 - cvr) + like"])
def test_a_score_is_made_of_calibrated_predictions(timed, network, expression):
    ranking = ranking_of(timed, (), "", 1.0, expression)
    served = ServedModel(network, timed, ranking=ranking, calibrations=MAPS)
    sent, rows = request(timed, 3, 20)
    answers = asked(served.signatures("rank")["rank"], sent)
    expected = {t: p.reshape(3, 20) for t, p in by_hand(network, timed, rows).items()}
    for task, values in expected.items():
        np.testing.assert_allclose(answers[f"p{task}"], values, rtol=0, atol=2e-6)
    score = expected["ctr"] * expected["cvr"]
    if expression:
        score = expected["ctr"] * (1 - expected["cvr"]) + expected["like"]
    np.testing.assert_allclose(answers["score"], score, rtol=0, atol=4e-6)
    assert json.loads(json.dumps(answers["score"].tolist())) == answers["score"].tolist()


def test_a_duration_that_all_candidates_share_is_read_of_the_request(timed, network):
    features = tuple(
        dataclasses.replace(feature, side="context") if feature.name == "length" else feature
        for feature in timed.features
    )
    labels = tuple(dataclasses.replace(label, duration_unit="ms") for label in timed.labels)
    shared = dataclasses.replace(timed, features=features, labels=labels)
    network = trained_network(shared, "three tasks")
    served = ServedModel(
        network, shared, ranking=ranking_of(shared, (), "", 1.0), calibrations=MAPS
    )
    sent, rows = request(shared, 3, 4)
    sent["length"] = np.float32([15_000, 16_000, np.nan])
    rows["length"] = np.repeat(sent["length"], 4)
    found = asked(served.signatures("rank")["rank"], sent)["pcvr"]
    expected = by_hand(network, shared, rows, unit=0.001)["cvr"].reshape(3, 4)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


def test_a_signature_asks_for_the_duration_that_its_map_reads(timed, monkeypatch):
    served = ServedModel(
        trained_network(timed, "three tasks"), timed, minimal=True, calibrations=MAPS
    )
    monkeypatch.setattr(served.network, "read_features", lambda tasks: {"user"})
    assert served.features(["ctr"]) == ["user"]
    assert served.features(["ctr", "cvr"]) == ["user", "length"]


def test_a_missing_duration_is_unknown_and_others_are_in_seconds(timed):
    feature = dataclasses.replace(duration_input(timed).feature, missing=60.5)
    raw = {"length": tf.constant([[60.5, 2000.0]])}
    found = DurationInput(feature, 0.001).of(raw).numpy()
    np.testing.assert_array_equal(found, np.float32([[np.nan, 2.0]]))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"labels": lambda label: {"duration": None}},
            "no label of .* names a column of durations",
        ),
        ({"features": lambda feature: {"column": f"{feature.name}_"}}, "made of column length"),
        ({"features": lambda feature: {"dtype": "string"}}, "a request cannot hold a video's"),
        ({"features": lambda feature: {"multivalued": True}}, "no feature of single numbers"),
    ],
)
def test_a_duration_that_no_request_holds_is_refused(timed, change, complaint):
    assert duration_input(timed).feature.name == "length"
    ((name, changes),) = change.items()
    changed = tuple(dataclasses.replace(item, **changes(item)) for item in getattr(timed, name))
    with pytest.raises(ConfigError, match=rf"--calibration: found duration, .*{complaint}"):
        duration_input(dataclasses.replace(timed, **{name: changed}))
