"""TensorBoard's events and the pictures of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lt4rec_tf.reports import tensorboard
from lt4rec_tf.reports.attention import AttentionShares, attention_table
from lt4rec_tf.reports.fields import fields_figure
from lt4rec_tf.reports.figures import save_png
from lt4rec_tf.reports.inputs import InputShares, inputs_table
from lt4rec_tf.reports.plots import overlap_figure, ticket_search_figure
from lt4rec_tf.reports.reliability import reliability_figure, shown_models
from lt4rec_tf.reports.text_tables import Evaluation, TicketSearch
from lt4rec_tf.tickets.masks import Masks

# By their tags in TensorBoard.
PICTURES = {
    "by_density/all_tasks": "ticket_search.png",
    "tickets/overlap": "overlap.png",
    "tickets/fields": "fields.png",
    "reliability": "reliability.png",
}

# HParams shows the settings that differ between runs first, then by the alphabet, and no more than
# five: without their group's name these come first, also of a single run.
FIRST_SETTINGS = {
    "training.epochs": "epochs",
    "tickets.final_density": "final_density",
    "model.hidden_units": "hidden_units",
    "training.learning_rate": "learning_rate",
}


class StageLog:
    """Writes every stage's losses and metrics below a folder, a TensorBoard run per stage.

    Args:
        folder: RUN / "tensorboard"; None: nothing is written.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._stage = ""
        self._writer: Any = None

    def __call__(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Logs {tag: value} at a step of a stage."""
        if self._folder is None:
            return
        if stage != self._stage:
            self.close()
            self._stage = stage
            self._writer = tensorboard.open_writer(self._folder / events_folder(stage))
        tensorboard.log_scalars(self._writer, step, values)

    def close(self) -> None:
        """Ends the open stage's events."""
        if self._writer is not None:
            self._writer.close()
        self._stage, self._writer = "", None


def events_folder(stage: str) -> str:
    """Returns the TensorBoard run of a stage: the tasks' searches share a run per level.

    Their tags name the task. TensorBoard shows nothing at first once it holds more than 40 runs,
    which a run per task and level of a few seeds exceeds.

    >>> events_folder("tickets/cvr/level_2"), events_folder("tables/level_1")
    ('tickets/level_2', 'tables/level_1')
    """
    kind, *rest = stage.split("/")
    if kind == "tickets":
        return "/".join([kind, *rest[1:]])  # without the task
    return stage


def report_run(
    folder: Path,
    settings: Mapping[str, Any],
    evaluation: Evaluation,
    level_masks: Mapping[str, Sequence[Masks]],
    joint_masks: Mapping[str, Masks],
    inputs: InputShares | None,
    attention: Sequence[AttentionShares],
    exported: str,
) -> list[Path]:
    """Draws a finished run, and logs its settings and final metrics.

    Args:
        folder: RUN.
        settings: Of the run, nested.
        evaluation: Content of evaluation.json.
        level_masks: Task -> the masks of its levels; empty where no ticket was searched.
        joint_masks: Task -> its ticket in the joint network; empty where there is none.
        inputs: What a model's tickets keep of its inputs; None: no model's tasks share a tower.
        attention: What these keep of the attention to each sequence of events.
        exported: The model whose calibration is drawn, and whose metrics HParams shows.

    Returns:
        The pictures' paths.
    """
    events, searches = folder / "tensorboard", evaluation["searches"]
    summary = tensorboard.open_writer(events / "summary")
    tensorboard.log_settings(summary, settings)
    for task, masks in level_masks.items():
        _log_search(events / "tickets" / task, task, masks, searches[task])

    figures = {}
    if searches:
        figures["by_density/all_tasks"] = ticket_search_figure(searches)
    if len(joint_masks) > 1:
        figures["tickets/overlap"] = overlap_figure(joint_masks)
    if inputs:
        figures["tickets/fields"] = fields_figure(inputs)
        tensorboard.log_text(summary, "tickets/inputs", inputs_table(inputs))
    for shares in attention:
        tag = f"tickets/attention/{shares.sequence}"
        tensorboard.log_text(summary, tag, attention_table(shares))
    if shown_models(evaluation, exported):
        figures["reliability"] = reliability_figure(evaluation, exported)

    pictures = []
    for tag, figure in figures.items():
        tensorboard.log_figure(summary, tag, figure, 0)
        pictures.append(folder / PICTURES[tag])
        save_png(figure, pictures[-1])
    summary.close()

    trial = f"{folder.parent.name}/{folder.name}"
    compared = _compared_settings(settings) | {"exported_model": exported}
    metrics = _final_metrics(evaluation, exported)
    tensorboard.log_hparams(events / "summary", compared, metrics, trial)
    return pictures


def _log_search(folder: Path, task: str, levels: Sequence[Masks], search: TicketSearch) -> None:
    writer = tensorboard.open_writer(folder)
    tag = f"by_density/{task}/{search['metric']}"
    for level, (masks, value) in enumerate(zip(levels, search["values"], strict=True)):
        tensorboard.log_masks(writer, level, masks)
        tensorboard.log_scalars(writer, level, {tag: value})
    writer.close()


def _compared_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    # Paths and splits of the logs are in the settings' text; columns of HParams are scarce.
    compared = {name: value for name, value in settings.items() if name != "data"}
    return {FIRST_SETTINGS.get(name, name): v for name, v in tensorboard.flat(compared).items()}


def _final_metrics(evaluation: Evaluation, exported: str) -> dict[str, float]:
    """Returns the metric that each task is judged by, of every model on test.

    By "test/<task>/<metric>" of the exported model: runs that export different ones share a column.
    By "test_of_models/<task>_<metric>/<model>" of all models.
    """
    values = {}
    for model in evaluation["rows"]:
        for task in evaluation["tasks"]:
            name, metric = task["name"], task["metric"]
            value = model["metrics"].get(name, {}).get(metric)
            if value is None:
                continue
            values[f"test_of_models/{name}_{metric}/{model['row']}"] = value
            if model["row"] == exported:
                values[f"test/{name}/{metric}"] = value
    return values
