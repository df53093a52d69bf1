"""Which tasks get a map, and the file that keeps it."""

import dataclasses
import json

import numpy as np
import pytest

from lt4rec_tf.core.artifacts import RunError
from lt4rec_tf.core.flags import ConfigError, digest
from lt4rec_tf.experiment.calibration import lines_of
from lt4rec_tf.experiment.calibration_maps import (
    ModelCalibration,
    fit_maps,
    maps_of_model,
    methods_of,
    write_maps,
)
from lt4rec_tf.models.calibration import Calibration, Curve, calibrated_logits
from lt4rec_tf.training.predictions import Predictions
from tests.support.tampering import tampered
from tests.support.training import small_settings

CURVE = Curve((-0.5, 0.25), (-1.0, 0.125))
MAPS = {
    "ctr": Calibration("isotonic", (CURVE,), rows=900, steps=3, distance=0.0125),
    "cvr": Calibration("duration", (CURVE, Curve((0.0,), (1.0,)), CURVE), (9.5,), 400, 5, 0.02),
}
FOUND = ModelCalibration({"ctr": "isotonic", "cvr": "duration"}, "validation", MAPS, {})
FLAG = "--calibration=isotonic,cvr=duration"


@pytest.fixture(scope="module")
def schema(small_schema):
    """With the length of a video, and a task that predicts an amount."""
    labels = tuple(dataclasses.replace(label, duration="age") for label in small_schema.labels)
    spent = dataclasses.replace(small_schema.task("cvr"), name="spent", kind="amount")
    return dataclasses.replace(small_schema, labels=labels, tasks=(*small_schema.tasks, spent))


def test_a_method_without_a_task_is_of_all_that_can_have_it(schema):
    assert methods_of((), schema) == methods_of(("none",), schema) == {}
    assert methods_of(("isotonic",), schema) == {"ctr": "isotonic", "cvr": "isotonic"}
    assert methods_of(("ctr=none", "duration"), schema) == {"cvr": "duration"}
    assert methods_of(("cvr=platt", "spent=none"), schema) == {"cvr": "platt"}


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        (("sigmoid",), "found 'sigmoid', expected one of none, isotonic, platt, duration, or task"),
        (("ctr=",), "found 'ctr=', expected one of none"),
        (("=platt",), "found '=platt', expected task=method"),
        (("like=platt",), r"found 'like', expected one of the tasks \('ctr', 'cvr', 'spent'\)"),
        (("ctr=platt", "ctr=none"), "found 'ctr=none', expected one method for a task"),
        (("platt", "isotonic"), "found 'isotonic', expected one method for a task"),
        (("ctr=platt", "spent=isotonic"), "no method for spent, which predicts an amount"),
        (("spent=platt",), "no method for spent, which predicts an amount"),
    ],
)
def test_what_is_no_method_of_a_task_is_refused(schema, texts, complaint):
    with pytest.raises(ConfigError, match=f"--calibration: .*{complaint}"):
        methods_of(texts, schema)


def test_durations_that_no_request_holds_are_refused(small_schema, schema):
    with pytest.raises(ConfigError, match=r"no label of .* names a column of durations"):
        methods_of(("cvr=duration",), small_schema)
    with pytest.raises(ConfigError, match="no method for spent"):
        methods_of(("platt",), schema.with_tasks(["spent"]))


def test_maps_are_read_as_they_were_written(schema, tmp_path):
    settings = small_settings(FLAG)
    write_maps(tmp_path, "s_weight", FOUND)
    assert maps_of_model(tmp_path, "s_weight", settings, schema) == FOUND
    assert maps_of_model(tmp_path, "s_weight", small_settings(), schema) is None
    only = dataclasses.replace(FOUND, methods={"ctr": "isotonic"}, maps={"ctr": MAPS["ctr"]})
    write_maps(tmp_path, "base_ctr", only)
    assert maps_of_model(tmp_path, "base_ctr", settings, schema) == only
    named = small_settings("--calibration=cvr=platt")
    assert maps_of_model(tmp_path, "base_ctr", named, schema) is None


def test_a_run_that_was_stopped_before_is_told_what_to_do(schema, tmp_path):
    with pytest.raises(RunError, match=r"mmoe\.json: no such file; run train again to calibrate"):
        maps_of_model(tmp_path, "mmoe", small_settings(FLAG), schema)


def changed(**values):
    content = json.loads(json.dumps(dataclasses.asdict(FOUND)))
    for place, value in values.items():
        *keys, last = place.split("__")
        inner = content
        for key in keys:
            inner = inner[int(key) if key.isdecimal() else key]
        inner[last] = value
    return content


def signed(content):
    """With the digest of what was changed."""
    return {**content, "digest": digest(content)} if isinstance(content, dict) else content


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"maps__ctr__curves__0__calibrated": [0.0, 0.0]}, "calibrated: expected finite numbers"),
        ({"maps__ctr__curves__0__slope": -1.0}, "slope: found -1.0"),
        ({"maps__ctr__curves": []}, "curves: found 0, expected 1"),
        ({"maps__cvr__bounds": []}, "curves: found 3, expected 2"),
        ({"maps__ctr__method": "sigmoid"}, "maps.ctr.method: found 'sigmoid', expected one of"),
        ({"maps": {}}, "found maps of"),
        ({"methods": {"ctr": "platt", "cvr": "duration"}}, "expected those of {'ctr': 'isotonic'"),
        ({"left": 3}, "left: found 3, expected an object"),
        ({"maps__ctr__curves__0__logits": ["a", 1.0]}, r"logits\[0\]: found 'a', expected a num"),
    ],
)
def test_a_file_that_was_changed_is_refused_with_its_name(schema, tmp_path, values, complaint):
    path = tmp_path / "calibration" / "s_weight.json"
    path.parent.mkdir()
    path.write_text(json.dumps(signed(changed(**values))))
    with pytest.raises(RunError, match=rf"s_weight\.json: .*{complaint}"):
        maps_of_model(tmp_path, "s_weight", small_settings(FLAG), schema)


def test_a_number_that_was_changed_is_refused_though_it_would_be_a_map(schema, tmp_path):
    write_maps(tmp_path, "s_weight", FOUND)
    path = tmp_path / "calibration" / "s_weight.json"
    path.write_text(path.read_text().replace("0.125", "0.225", 1))
    with pytest.raises(RunError, match=r"s_weight\.json: digest: found '\w+', expected '\w+'"):
        maps_of_model(tmp_path, "s_weight", small_settings(FLAG), schema)


def test_a_file_that_holds_anything_else_is_refused_or_a_map(schema, tmp_path):
    path = tmp_path / "calibration" / "s_weight.json"
    path.parent.mkdir()
    settings, named = small_settings(FLAG), []
    for content in tampered(changed()):
        path.write_text(json.dumps(signed(content)))
        try:
            found = maps_of_model(tmp_path, "s_weight", settings, schema)
        except RunError as error:
            named.append(str(path) in str(error))
        else:
            assert len(lines_of("s_weight", found)) == 2
            for calibration in found.maps.values():
                answers = calibrated_logits(calibration, np.float32([-9, 0, 9]), np.float32(5.0))
                assert np.isfinite(answers).all()
    assert all(named)
    assert len(named) > 50


def test_tasks_of_few_rows_stay_as_they_are_and_that_is_said(schema):
    rng = np.random.default_rng(1)
    click, ratio = rng.integers(0, 2, 200).astype(np.float32), rng.random(200).astype(np.float32)
    logits = rng.normal(size=200).astype(np.float32) + click
    found = fit_maps(
        Predictions(
            {"ctr": logits, "cvr": logits},
            {"ctr": click, "cvr": ratio},
            {"ctr": np.ones(200), "cvr": np.arange(200) < 60},
            np.arange(200),
            durations=np.ones(200),
        ),
        schema,
        {"ctr": "platt", "cvr": "duration", "spent": "platt"},
        "validation",
    )
    assert found.methods == {"ctr": "platt", "cvr": "duration"}
    assert list(found.maps) == ["ctr"]
    assert found.left == {"cvr": "found 60 rows, expected 100 or more"}
    first, second = lines_of("mmoe", found)
    assert first.startswith("calibration of mmoe on validation: ctr: platt, slope ")
    assert second == (
        "calibration of mmoe on validation: cvr: predictions stay as they are: found 60 rows, "
        "expected 100 or more"
    )
    (line, _) = lines_of("mmoe", FOUND)
    assert line.endswith(
        "ctr: isotonic, 2 knots, of 900 rows; of all rows together 0.0125 from the 3 steps of "
        "isotonic regression on average"
    )
