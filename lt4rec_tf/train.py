"""Trains CTR and CVR by LT4REC's Algorithm 1 from log files, compares, and exports.

    python -m lt4rec_tf.train --flagfile=configs/quickstart.cfg

Started again with the same flags, it goes on where it was stopped.
"""

from __future__ import annotations

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import io
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path

from lt4rec_tf.config.checks import check_tasks
from lt4rec_tf.config.parse import parse, to_dict
from lt4rec_tf.config.settings import TICKET_ROWS, Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.command import exit_on_error, make_deterministic
from lt4rec_tf.core.progress import Progress
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.distributed import cluster
from lt4rec_tf.distributed.replicas import this_process
from lt4rec_tf.experiment import run_folder as entry
from lt4rec_tf.experiment import sharing_search
from lt4rec_tf.experiment.daily import procedure
from lt4rec_tf.experiment.evaluation import evaluate_rows
from lt4rec_tf.experiment.feed import training_feed
from lt4rec_tf.experiment.initial_weights import keep_start
from lt4rec_tf.experiment.joint_training import steps_to_come
from lt4rec_tf.experiment.parallel_searches import search_side_by_side
from lt4rec_tf.experiment.paths import EVALUATION, TENSORBOARD, read_choice, row_folder, run_folder
from lt4rec_tf.experiment.publishing import default_row, published_version
from lt4rec_tf.experiment.run import Run, network_in
from lt4rec_tf.experiment.ticket_search import Ticket, find_ticket, level_masks
from lt4rec_tf.reports.run_report import StageLog, report_run
from lt4rec_tf.reports.text_tables import (
    Evaluation,
    evaluation_table,
    sharing_table,
    table_levels,
    ticket_table,
)
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.training.plan import Feed


def main(argv: Sequence[str]) -> None:
    """Runs the whole procedure, from flags to a published model."""
    settings, places = parse(argv, __doc__ or "")
    cluster.check(settings.training.distribution)
    schema = entry.read_schema(settings.data.schema, settings)
    check_tasks(settings, [task.name for task in schema.tasks])
    folder = run_folder(settings, places)
    make_deterministic()
    training = settings.training
    table_rows = sum(table.rows for table in schema.tables)
    if procedure.takes_over(settings):
        with (
            artifacts.locked(folder),
            cluster.joined(training.distribution, table_rows, training.shard_mib),
        ):
            procedure.train(settings, schema, folder)
        return
    if cluster.is_server(settings.training.distribution):
        cluster.serve(folder)
        return
    before = cluster.finished(folder)
    with ExitStack() as held:
        with cluster.joined(training.distribution, table_rows, training.shard_mib):
            writes = this_process().index == 0
            held.enter_context(artifacts.locked(folder) if writes else nullcontext())
            source, tickets, evaluation = learn(settings, schema, folder)
        if writes:
            finish(settings, source.schema, folder, source, tickets, evaluation)
            cluster.say_finished(folder)
        else:
            cluster.wait_for_writer(folder, before)


def learn(
    settings: Settings, schema: Schema, folder: Path
) -> tuple[Source, list[Ticket], Evaluation]:
    """Trains and measures every row; each process of a cluster does it, and one writes.

    Returns:
        The logs; each task's search with the ticket that it chose; the content of evaluation.json.
    """
    writes = this_process().index == 0
    say = print if writes else _say_nothing
    artifacts.sweep(folder)
    source, audit = entry.open_audited(settings, schema, folder, f"run: {folder}", say)
    schema = source.schema  # knows what the audit found of amounts
    with closing(StageLog(folder / TENSORBOARD if writes else None)) as log:
        feed = training_feed(source, audit, settings)
        tickets = train_rows(settings, schema, folder, feed, log)
    evaluation = evaluate_rows(folder, settings, schema, source, "test")
    artifacts.write_json(folder / EVALUATION, artifacts.undefined_as_null(evaluation))
    return source, tickets, evaluation


def _say_nothing(text: str) -> None:
    """What all processes but one say."""


def train_rows(
    settings: Settings, schema: Schema, folder: Path, feed: Feed, log: StageLog
) -> list[Ticket]:
    """Finds tickets and trains every row; what an earlier process finished is skipped.

    Returns:
        Each task's search with the ticket that it chose.
    """
    names = [task.name for task in schema.tasks]
    steps = steps_to_come(settings, names, folder, folder, feed)
    out = None if this_process().index == 0 else io.StringIO()
    with Progress(steps, settings.training.batch_size, out) as progress:
        run = Run(settings, schema, folder, folder, feed, progress, log)
        keep_start(run)
        tickets = []
        if {"base", *TICKET_ROWS} & set(settings.rows):
            search_side_by_side(run)
            shared = network_in(run, "s_weight")
            tickets = [find_ticket(run, shared, task) for task in run.tasks]
        sharing_search.train_rows(run, tickets)
    return tickets


def finish(
    settings: Settings,
    schema: Schema,
    folder: Path,
    source: Source,
    tickets: list[Ticket],
    evaluation: Evaluation,
) -> None:
    """Exports, draws, and prints what a user wants to see."""
    row = default_row(settings, schema)
    version = published_version(folder, settings, schema, source)
    searches = evaluation["searches"]
    masks = {ticket.task: level_masks(ticket) for ticket in tickets if ticket.task in searches}
    worn = {ticket.task: ticket.masks for ticket in tickets if ticket.task in searches}
    values = to_dict(settings)
    pictures = report_run(folder, values, evaluation, searches, masks, worn)
    if tables := evaluation["tables"]:
        levels = table_levels(tables, evaluation["tasks"])
        print(f"\nticket of the embedding tables, by {tables['unit']}, on validation\n\n{levels}")
    for task, search in searches.items():
        print(f"\nticket search of {task}, on validation\n\n{ticket_table(task, search)}")
    if "s_weight_auto" in settings.rows:
        names = [task.name for task in schema.tasks]
        choice = read_choice(row_folder(folder, "s_weight_auto"))
        print(f"\nsharing, on validation\n\n{sharing_table(names, choice)}")
    print(f"\non test\n\n{evaluation_table(evaluation)}\n")
    print(f"SavedModel ({row}): {version}")
    print(f"TensorBoard: tensorboard --logdir {folder / 'tensorboard'}")
    print("pictures:", ", ".join(map(str, pictures)) or "none")
    print(f"all numbers: {folder / EVALUATION}")


if __name__ == "__main__":
    sys.exit(exit_on_error(main, sys.argv))
