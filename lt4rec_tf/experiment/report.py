"""Tables and pictures at the end of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lt4rec_tf.config.parse import to_dict
from lt4rec_tf.config.settings import Settings
from lt4rec_tf.experiment.joint_search import read_joint_search
from lt4rec_tf.experiment.logs import read_audit
from lt4rec_tf.experiment.passes import most_passes
from lt4rec_tf.experiment.paths import (
    EVALUATION,
    JOINT,
    TENSORBOARD,
    model_folder,
    read_choice,
    single_task,
    stage_folder,
)
from lt4rec_tf.experiment.shared_tickets import (
    attention_shares,
    drawn_tickets,
    input_shares,
    shared_masks,
)
from lt4rec_tf.experiment.ticket_search import Ticket, level_masks
from lt4rec_tf.experiment.trained_models import model_names
from lt4rec_tf.reports.attention import attention_table, attention_title
from lt4rec_tf.reports.calibration import calibration_table
from lt4rec_tf.reports.inputs import input_lines
from lt4rec_tf.reports.passes import Passes, advice
from lt4rec_tf.reports.run_report import report_run
from lt4rec_tf.reports.search_tables import (
    joint_levels,
    sharing_table,
    table_levels,
    ticket_table,
)
from lt4rec_tf.reports.text_tables import (
    Evaluation,
    evaluation_table,
)
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.tickets.search import read_result
from lt4rec_tf.training.nothing_learned import warning_of


def print_run(settings: Settings, schema: Schema, folder: Path, evaluation: Evaluation) -> None:
    """Prints the tables of a run: its searches on validation, its models on test.

    Args:
        settings: The run's.
        schema: The run's.
        folder: RUN.
        evaluation: Content of evaluation.json.
    """
    if tables := evaluation["tables"]:
        levels = table_levels(tables, evaluation["tasks"])
        print(f"\nticket of the embedding tables, by {tables['unit']}, on validation\n\n{levels}")

    for task, search in evaluation["searches"].items():
        print(f"\nticket search of {task}, on validation\n\n{ticket_table(task, search)}")

    names = [task.name for task in schema.tasks]
    if "s_weight_auto" in settings.models:
        choice = read_choice(model_folder(folder, "s_weight_auto"))
        print(f"\nsharing, on validation\n\n{sharing_table(names, choice)}")

    if joint := read_joint_search(model_folder(folder, "s_joint"), names):
        levels = joint_levels(joint, evaluation["tasks"])
        print(f"\njoint search, on validation\n\n{levels}")

    for model in settings.models:
        if masks := shared_masks(folder, model, settings, schema):
            lines = input_lines(input_shares(model, masks, settings, schema))
            print(f"\ninputs of {model}\n\n{lines}")
            for shares in attention_shares(masks, settings, schema):
                print(f"\n{attention_title(shares, model)}\n\n{attention_table(shares)}")

    print_evaluation(evaluation)
    names = model_names(settings, schema)
    results = {model: read_result(stage_folder(folder, model)) for model in names}
    for line in nothing_learned_lines(results):
        print(line)
    for line in advice_on_passes(settings, folder, results):
        print(line)


def print_evaluation(evaluation: Evaluation) -> None:
    """Prints what models measure on test, and what calibration changes of it."""
    print(f"\non test\n\n{evaluation_table(evaluation)}\n")
    if table := calibration_table(evaluation):
        print(f"before and after calibration, on test\n\n{table}\n")


def nothing_learned_lines(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Says which models learned nothing of a task, and each likely cause once.

    Args:
        results: By model what its stage left, see `tickets.search.StageResult`.
    """
    lines, causes = [], {}
    for model, result in results.items():
        for task, why in result.get("nothing_learned", {}).items():
            lines.append(warning_of(model, task, why["what"]))
            causes.update(dict.fromkeys(why["causes"]))
    return [*lines, *(f"  likely cause: {cause}" for cause in causes)]


def advice_on_passes(
    settings: Settings, folder: Path, results: Mapping[str, dict[str, Any]]
) -> list[str]:
    """Returns what the passes of the models that were trained jointly, and learned, say.

    A search over levels takes passes at each of them: those of the chosen one say nothing.

    Args:
        settings: The run's.
        folder: RUN.
        results: By model what its stage left, see `tickets.search.StageResult`.
    """
    passes_by_model = {}
    for model, result in results.items():
        of_levels = (model_folder(folder, model) / JOINT).exists()
        if single_task(model) is None and not of_levels and not result.get("nothing_learned"):
            passes_by_model[model] = Passes(len(result["history"]), result["best_epoch"] + 1)

    rows = read_audit(folder).splits["train"].rows
    steps = math.ceil(rows / settings.training.batch_size)
    most = settings.training.epochs or most_passes(steps)
    return advice(passes_by_model, most, steps)


def print_places(
    folder: Path, model: str, version: Path, pictures: list[Path] | None = None
) -> None:
    """Prints where the results of a run lie.

    Args:
        folder: RUN.
        model: The model that is exported.
        version: Its SavedModel.
        pictures: Of `draw_run`; None: the run draws none.
    """
    print(f"SavedModel ({model}): {version}")
    print(f"TensorBoard: tensorboard --logdir {folder / TENSORBOARD}")
    if pictures is not None:
        print("pictures:", ", ".join(map(str, pictures)) or "none")
    print(f"all numbers: {folder / EVALUATION}")


def draw_run(
    settings: Settings,
    schema: Schema,
    folder: Path,
    tickets: list[Ticket],
    evaluation: Evaluation,
    exported: str,
) -> list[Path]:
    """Draws a run's searches, tickets and calibration, beside its files and in TensorBoard.

    Inputs are drawn of the exported model, or, where its tasks share no tower, of the next model
    of sparse sharing.

    Args:
        settings: The run's.
        schema: The run's.
        folder: RUN.
        tickets: Each task's search; those that cut nothing are not drawn.
        evaluation: Content of evaluation.json.
        exported: The model that is exported, whose calibration is drawn.

    Returns:
        The pictures' paths.
    """
    searched = [ticket for ticket in tickets if ticket.task in evaluation["searches"]]
    masks_of_levels = {ticket.task: level_masks(ticket) for ticket in searched}
    tickets_found = {ticket.task: ticket.masks for ticket in searched}

    model, masks = drawn_tickets(folder, settings, schema)
    inputs = input_shares(model, masks, settings, schema) if masks else None
    attention = attention_shares(masks, settings, schema) if masks else []
    overlapping = tickets_found or masks
    values = to_dict(settings)
    values["models"] = values.pop("rows")  # as the flag is called
    return report_run(
        folder, values, evaluation, masks_of_levels, overlapping, inputs, attention, exported
    )
