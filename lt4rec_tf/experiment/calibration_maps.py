"""A model's calibration maps: which tasks get one, the fit, the file that keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lt4rec_tf.config.checks import calibration_methods
from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.flags import digest, refuse
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.experiment.paths import calibration_file, single_task
from lt4rec_tf.models.calibration import Calibration, Curve
from lt4rec_tf.models.heads.of_task import has_probability
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.serving.durations import duration_input
from lt4rec_tf.training.calibration import UncalibratedError, calibrated, fit
from lt4rec_tf.training.error_analysis import error_bins
from lt4rec_tf.training.evaluation import measure
from lt4rec_tf.training.predictions import Predictions

FLAG = "calibration"


@dataclass(frozen=True)
class ModelCalibration:
    """What calibration found for a model.

    Attributes:
        methods: Task -> method, as flags say it.
        fitted_on: The rows that maps were fitted on, in words.
        maps: Task -> its map.
        left: Task without a map -> why.
    """

    methods: dict[str, str]
    fitted_on: str
    maps: dict[str, Calibration]
    left: dict[str, str]


@dataclass(frozen=True)
class _Kept(ModelCalibration):
    """The content of a file: a changed byte would give other predictions, and no error."""

    digest: str  # of all else


def methods_of(texts: Sequence[str], schema: Schema) -> dict[str, str]:
    """Returns which task is calibrated how; none where no flag asks for it.

    Args:
        texts: Of --calibration.
        schema: With the tasks.

    Raises:
        ConfigError: A text that is no method and no task=method, a task that predicts an amount or
            has another head than the plain one, durations that a request cannot hold.
    """
    left = [task.name for task in schema.tasks if not has_probability(task)]
    methods = calibration_methods(texts, [task.name for task in schema.tasks])
    if not methods:
        return {}
    named = [name for name in left if any(text.startswith(f"{name}=") for text in texts)]
    refused = [name for name in named if name in methods] or (
        left if methods.keys() <= {*left} else []
    )
    if refused:
        is_amount = schema.task(refused[0]).kind == "amount"
        why = "predicts an amount" if is_amount else "has another head than the plain one"
        refuse(FLAG, ",".join(texts), f"no method for {refused[0]}, which {why}")
    if "duration" in methods.values():
        duration_input(schema)
    return {name: method for name, method in methods.items() if name not in left}


def fit_maps(
    predictions: Predictions, schema: Schema, methods: Mapping[str, str], fitted_on: str
) -> ModelCalibration:
    """Fits the maps of a model's tasks.

    Args:
        predictions: For rows that no weight was trained on; by duration with durations.
        schema: The run's.
        methods: Of `methods_of`.
        fitted_on: As `ModelCalibration` has it.
    """
    of_model = {name: method for name, method in methods.items() if name in predictions.logits}
    maps, left = {}, {}
    for name, method in of_model.items():
        try:
            maps[name] = fit(method, predictions, schema.task(name))
        except UncalibratedError as error:
            left[name] = str(error)
    return ModelCalibration(of_model, fitted_on, maps, left)


def content_of(found: ModelCalibration) -> dict[str, Any]:
    """Returns what a file holds of a model's maps, as plain values."""
    content = asdict(found)
    return {**content, "digest": digest(content)}


def write_maps(folder: Path, model: str, found: ModelCalibration) -> None:
    """Keeps a model's maps in RUN."""
    artifacts.write_json(calibration_file(folder, model), content_of(found))


def maps_of_model(
    folder: Path, model: str, settings: Settings, schema: Schema
) -> ModelCalibration | None:
    """Reads the maps of a run's model; None where the run's flags ask for none.

    Args:
        folder: RUN.
        model: One of its models.
        settings: The run's.
        schema: The run's, with all its tasks.

    Raises:
        RunError: The file is absent, is no such file, or is of other methods.
    """
    methods = methods_of(settings.training.calibration, schema)
    task = single_task(model)
    if task is not None:
        methods = {name: method for name, method in methods.items() if name == task}
    if not methods:
        return None

    path = calibration_file(folder, model)
    if not path.exists():
        raise artifacts.RunError(f"{path}: no such file; run train again to calibrate {model}")
    values = read_typed(path, _Kept)
    expected = digest({name: value for name, value in values.items() if name != "digest"})
    if values["digest"] != expected:
        raise artifacts.RunError(
            f"{path}: digest: found {values['digest']!r}, expected {expected!r}: the maps were "
            "changed since they were written; remove the file and run train again"
        )
    try:
        maps = {name: _calibration(value) for name, value in values["maps"].items()}
    except ValueError as error:
        raise artifacts.RunError(f"{path}: {error}") from error
    found = ModelCalibration(values["methods"], values["fitted_on"], maps, values["left"])
    if found.methods != methods or {*found.maps, *found.left} != {*methods}:
        raise artifacts.RunError(
            f"{path}: found maps of {found.methods or 'no task'}, expected those of {methods}"
        )
    return found


def measured_with(
    calibration: ModelCalibration, schema: Schema, tasks: Sequence[str], predictions: Predictions
) -> dict[str, Any]:
    """Measures predictions as a model's maps change them.

    Args:
        calibration: Of the model.
        schema: The run's.
        tasks: Of the model's network.
        predictions: Its own, of a split.

    Returns:
        As "calibrated" of `trained_models.measure_models`.
    """
    after = calibrated(predictions, schema, calibration.maps)
    return {
        "maps": {task: found.words for task, found in calibration.maps.items()},
        "left": calibration.left,
        "metrics": dict(measure(after, schema, tasks)),
        "reliability": error_bins(after, schema, tasks)["reliability"],
    }


def _calibration(values: Mapping[str, Any]) -> Calibration:
    curves = []
    for curve in values["curves"]:
        x, y = tuple(curve["logits"]), tuple(curve["calibrated"])
        curves.append(Curve(x, y, curve["slope"]))
    return Calibration(
        **{**values, "curves": tuple(curves), "bounds": tuple(values["bounds"])},
    )
