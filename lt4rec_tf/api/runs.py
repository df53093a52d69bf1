"""A run on disk, as an object."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lt4rec_tf.api.models import Model
from lt4rec_tf.api.pictures import Picture
from lt4rec_tf.api.tables import Table
from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core.artifacts import RunError, read_json
from lt4rec_tf.experiment import logs, run_folder
from lt4rec_tf.experiment.paths import evaluation_file
from lt4rec_tf.experiment.predictor import open_predictor
from lt4rec_tf.experiment.shared_tickets import drawn_tickets, shared_masks
from lt4rec_tf.experiment.trained_models import SPARSE_SHARING, default_model, model_names
from lt4rec_tf.reports.plots import overlap_figure
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.tickets.masks import Masks


def load_run(folder: str | Path, *, data_dir: str | Path = "") -> Run:
    """Opens a run; its logs are not read.

    Args:
        folder: RUN, such as "runs/quickstart-0123456789/seed_1".
        data_dir: Where side tables lie now, if not where the run found them.

    Raises:
        InputError: The folder is no run, or its files were changed.
    """
    folder = Path(folder)
    settings, schema = run_folder.read_run(folder)
    return Run(folder, settings, logs.learned_schema(schema, folder), str(data_dir))


class Run:
    """A run: its settings, schema, metrics and models.

    Attributes:
        folder: Where it lies.
        settings: All flags that it was made with.
        schema: With what was fitted to its train.
    """

    def __init__(self, folder: Path, settings: Settings, schema: Schema, data_dir: str) -> None:
        self.folder, self.settings, self.schema = folder, settings, schema
        self._data_dir = data_dir
        self._model = functools.cache(self._open)

    @property
    def models(self) -> tuple[str, ...]:
        """Returns the names of its models, in the order of its table."""
        return tuple(model_names(self.settings, self.schema))

    @property
    def exported(self) -> str:
        """Returns the model that is exported where none is named."""
        return default_model(self.settings, self.schema, self.folder)

    @property
    def evaluation(self) -> dict[str, Any]:
        """Returns the content of evaluation.json.

        Raises:
            InputError: The run has none: its training has not ended.
        """
        path = evaluation_file(self.folder, "test")
        if not path.exists():
            raise RunError(f"{path}: no such file; run train again to finish the run")
        found: dict[str, Any] = read_json(path)
        return found

    @property
    def metrics(self) -> Table:
        """Returns evaluation.json as a table.

        A line is a model; columns are model, <task>_<metric>, <task>_<metric>_calibrated of a run
        with maps, density_<task>, overlap and seconds. NaN where a model has none.

        Raises:
            InputError: As `evaluation`.
        """
        entries = [_line_of(entry) for entry in self.evaluation["rows"]]
        names = dict.fromkeys(name for entry in entries for name in entry)
        last = ("overlap", "seconds")
        ordered = [*(name for name in names if name not in last), *last]
        return Table({name: [entry.get(name) for entry in entries] for name in ordered})

    def model(self, model: str = "") -> Model:
        """Opens a trained model; the same object each time.

        Args:
            model: One of `models`; "": the one that is exported.

        Raises:
            InputError: There is no such model, or it is not trained.
        """
        return self._model(model or self.exported)

    def _open(self, model: str) -> Model:
        return Model(open_predictor(self.folder, model, self._data_dir))

    def masks(self, task: str, model: str = "") -> Masks:
        """Returns a task's ticket in a model, see `Model.masks`."""
        return self.model(model).masks(task)

    def overlap(self, model: str = "") -> Picture:
        """Draws the shares of weights that one task's ticket keeps, both, or none.

        Args:
            model: One of `models` whose tasks share a tower; "": the exported one, or the next
                that does.

        Raises:
            InputError: No ticket of the model lies on a tower that tasks share.
        """
        if model:
            masks = shared_masks(self.folder, model, self.settings, self.schema)
        else:
            model, masks = drawn_tickets(self.folder, self.settings, self.schema)
        if not masks:
            raise RunError(
                f"{self.folder}: model {model or self.exported}: found no tickets on a tower that "
                f"is shared, expected a model such as {', '.join(SPARSE_SHARING)}"
            )
        return Picture(overlap_figure(masks))

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}: {', '.join(self.models)})"


def _line_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a model's line of the table, from its entry of evaluation.json."""
    line: dict[str, Any] = {"model": entry["row"]}
    for task, values in entry["metrics"].items():
        line |= {f"{task}_{name}": value for name, value in values.items()}
    for task, values in entry.get("calibrated", {}).get("metrics", {}).items():
        line |= {f"{task}_{name}_calibrated": value for name, value in values.items()}
    line |= {f"density_{task}": share for task, share in entry["density"].items()}
    return line | {"overlap": entry["overlap"], "seconds": entry["seconds"]}
