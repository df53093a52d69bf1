"""A trained model of a run as a function of raw rows, with the answers of a served version."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.flags import digest
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.frames import FRAME, record_batches
from lt4rec_tf.data.formats.parquet import columns_of
from lt4rec_tf.data.formats.parquet_lines import lines_of
from lt4rec_tf.data.input.scoring import opened_frame, scoring_schema
from lt4rec_tf.data.input.scoring_step import GOOD, Step, reasons_of, scoring_step
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.experiment import logs, run_folder
from lt4rec_tf.experiment.calibration_maps import content_of, maps_of_model
from lt4rec_tf.experiment.paths import CONFIG, stage_folder
from lt4rec_tf.experiment.trained_models import default_model, load_model
from lt4rec_tf.models.calibration import (
    NO_MAPS,
    Calibrations,
    calibrated_outputs,
    needs_durations,
)
from lt4rec_tf.models.heads.of_task import prediction, read_durations
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.serving.signatures import answer_names, products
from lt4rec_tf.tickets.search import WEIGHTS
from lt4rec_tf.training.predictions import logits_of

FRAME_ROWS = 4096  # of a table in memory that are scored together


@dataclass(frozen=True, eq=False)
class Predictor:
    """A trained model, ready to score.

    Attributes:
        folder: RUN.
        name: The model's, one of the run's.
        settings: The run's.
        schema: The run's, with the tasks of the network.
        network: With its masks and weights.
        maps: Calibration by task, the run's own.
        side_dir: The folder to which names of side tables are relative.
        identity: Differs between networks, maps and schemas that may answer differently.
    """

    folder: Path
    name: str
    settings: Settings
    schema: Schema
    network: RankingNetwork
    maps: Calibrations
    side_dir: str
    identity: str

    @property
    def reads_durations(self) -> bool:
        """Tells if the length of a row's video is part of an answer."""
        return needs_durations(self.maps) or read_durations(self.schema, self.network.tasks)

    @functools.cached_property
    def scored(self) -> Schema:
        """Returns what rows to be scored must hold."""
        return scoring_schema(self.schema, durations=self.reads_durations)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Returns the names of the answers, those of a served version's `serving_default`."""
        return tuple(answer_names(self.schema, self.network.tasks))

    def answers(
        self, ids: Mapping[str, tf.Tensor], seconds: tf.Tensor | None
    ) -> dict[str, tf.Tensor]:
        """Computes the answers to rows, in graph.

        Args:
            ids: Of `features_to_ids`.
            seconds: float32 (batch,), NaN where unknown; None where nothing reads durations.

        Returns:
            By output float32 (batch,).
        """
        tasks = self.network.tasks
        by_task = {}
        for name, logits in logits_of(self.network, tasks, ids).items():
            task = self.schema.task(name)
            outputs = calibrated_outputs(task, logits, self.maps.get(name), seconds)
            known = seconds if task.reads_duration else None
            by_task[name] = prediction(task, outputs, known)
        return products(by_task, answer_names(self.schema, tasks))

    @functools.cached_property
    def _steps(self) -> dict[Any, Step]:
        return {}

    def of_frame(self, frame: Any) -> dict[str, np.ndarray]:
        """Scores a table in memory.

        Args:
            frame: As `frames.record_batches` takes it, with the columns of the run's logs.

        Returns:
            By output float32 (rows,), in the table's order.

        Raises:
            DataError: It is no table, lacks a column, or holds a value that is none of its
                feature's dtype; names the column and the row, from 0.
        """
        arrow_schema, batches = record_batches(frame, FRAME_ROWS)
        source = opened_frame(self.scored, arrow_schema, self.side_dir)
        step = self._step(source)
        found = columns_of(arrow_schema, FRAME, source.layout.placed)

        pieces: dict[str, list[np.ndarray]] = {name: [] for name in self.outputs}
        rows = 0
        for batch in batches:
            lines = lines_of(batch, source.layout.columns, found, source.layout.ids, FRAME)
            records = tf.constant(lines, tf.string)
            values = step(records, tf.zeros(len(batch), tf.bool))
            _refuse_faults(source, records, values["first_fault"].numpy(), rows)
            for name in pieces:
                pieces[name].append(values["answers"][name].numpy())
            rows += len(batch)
        empty = np.zeros(0, np.float32)
        return {name: np.concatenate([empty, *parts]) for name, parts in pieces.items()}

    def _step(self, source: Source) -> Step:
        """Returns the step of a layout: tables of the same columns share one."""
        layout = source.layout
        key = layout.columns, *map(frozenset, (layout.listed, layout.ids, layout.kinds.items()))
        if key not in self._steps:
            self._steps[key] = scoring_step(source, self.answers)
        return self._steps[key]


def _refuse_faults(source: Source, records: tf.Tensor, faults: np.ndarray, before: int) -> None:
    bad = np.flatnonzero(faults != GOOD)
    if not len(bad):
        return
    first = bad[:1]
    (reason,) = reasons_of(source, tf.gather(records, first), faults[first])
    more = f" ({len(bad)} such rows among {len(records)})" if len(bad) > 1 else ""
    raise DataError(f"{FRAME}: row {before + int(first[0])}: column {reason}{more}")


def open_predictor(folder: Path, model: str, data_dir: str = "") -> Predictor:
    """Opens a trained model of a run; its logs are not read.

    Args:
        folder: RUN.
        model: One of the run's; "": the one that is exported.
        data_dir: The folder of side tables; "": that of the run's logs.

    Raises:
        RunError: The folder is no run, or the model is none of it or is not trained.
    """
    settings, schema = run_folder.read_run(folder)
    schema = logs.learned_schema(schema, folder)
    model = model or default_model(settings, schema, folder)
    network = load_model(folder, model, settings, schema)
    calibration = maps_of_model(folder, model, settings, schema)
    content = content_of(calibration) if calibration else None
    return Predictor(
        folder=folder,
        name=model,
        settings=settings,
        schema=schema.with_tasks(network.tasks),
        network=network,
        maps=calibration.maps if calibration else NO_MAPS,
        side_dir=data_dir or settings.data.data_dir,
        identity=digest({"files": _file_digests(folder, model), "maps": content}),
    )


def _file_digests(folder: Path, model: str) -> dict[str, str]:
    """Returns the SHA-256 of each file that decides what a model answers."""
    stage = stage_folder(folder, model)
    paths = [folder / CONFIG, *(stage / WEIGHTS).rglob("*"), *stage.parent.rglob("*.npz")]
    files = sorted(path for path in paths if path.is_file())
    return {path.relative_to(folder).as_posix(): artifacts.sha256(path) for path in files}
