"""Trains CTR and CVR by LT4REC's Algorithm 1 from log files, compares, and exports.

    python -m lt4rec_tf.train --flagfile=configs/quickstart.cfg

Started again with the same flags, it goes on where it was stopped.
"""

from __future__ import annotations

from lt4rec_tf.core.callable_modules import callable_as
from lt4rec_tf.core.command import before_tensorflow
from lt4rec_tf.core.processes import end_with_parent

if __name__ == "__main__":
    before_tensorflow()
if __name__ == "__mp_main__":  # a process of a pool, which imports this module before all else
    end_with_parent()
    before_tensorflow()

import io
from collections.abc import Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

from lt4rec_tf.config import checks, parse
from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts, command
from lt4rec_tf.core.flags import expect, flag
from lt4rec_tf.core.progress import Progress
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.distributed import cluster, replicas
from lt4rec_tf.experiment import (
    calibration,
    model_checks,
    passes,
    paths,
    publishing,
    report,
    run_folder,
    sizes,
    stages,
)
from lt4rec_tf.experiment.calibration_maps import methods_of
from lt4rec_tf.experiment.daily import added_tasks
from lt4rec_tf.experiment.daily import procedure as daily
from lt4rec_tf.experiment.daily.dry_run import dry_run as daily_dry_run
from lt4rec_tf.experiment.dry_run import dry_run
from lt4rec_tf.experiment.evaluation import evaluate_models
from lt4rec_tf.experiment.feed import training_feed
from lt4rec_tf.experiment.run import Run
from lt4rec_tf.experiment.ticket_search import Ticket
from lt4rec_tf.experiment.trained_models import default_model
from lt4rec_tf.models import registry
from lt4rec_tf.reports.run_report import StageLog
from lt4rec_tf.reports.text_tables import Evaluation
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.training.plan import Feed


@dataclass(frozen=True)
class TrainFlags:
    """Flags of this command alone."""

    dry_run: bool = flag(
        False,
        "Read the logs, refuse what the run would refuse, say what it would train and export, and "
        "leave nothing behind in the run's folder.",
    )


def main(argv: Sequence[str]) -> None:
    """Runs the whole procedure, from flags to a published model."""
    run(argv)


def run(argv: Sequence[str]) -> Path:
    """Does what `main` does, and returns the folder of the run.

    Args:
        argv: Program name and arguments.

    Raises:
        InputError: A flag, the schema, the logs or the folder cannot be used.
    """
    settings, places, command_flags = parse.parse_with(
        argv, __doc__ or "", TrainFlags, registry.descriptions()
    )
    training = settings.training
    alone = training.distribution == "none"
    expected = f"nothing with --distribution={training.distribution}"
    expect(alone or not command_flags.dry_run, "dry_run", command_flags.dry_run, expected)
    cluster.check(training.distribution)
    schema = run_folder.read_schema(settings.data.schema, settings)
    if not parse.gives_models(argv, TrainFlags):
        if settings.daily.add_to:
            settings = added_tasks.with_exported_model(settings)
        else:
            settings = _without_equal_models(settings, schema, paths.run_folder(settings, places))
    checks.check_tasks(settings, [task.name for task in schema.tasks])
    model_checks.check_models(settings, schema)
    methods_of(settings.training.calibration, schema)
    sizes.check_sizes(settings, schema)
    folder = paths.run_folder(settings, places)
    if training.distribution == "parameter_server":  # a link of this machine is none of servers
        expected = "a folder without *, ?, [ and ] with --distribution=parameter_server"
        expect(artifacts.is_literal(folder), "run_dir", str(folder), expected)
    command.make_deterministic()

    if command_flags.dry_run:
        say_plan = daily_dry_run if daily.starts_from_another(settings) else dry_run
        say_plan(settings, schema, folder)
        return folder

    cluster_joined = cluster.joined(training.distribution, training.shard_mib)
    if daily.starts_from_another(settings):
        with artifacts.locked(folder), cluster_joined:
            daily.train(settings, schema, folder)
        return folder
    if cluster.is_server(training.distribution):
        cluster.serve(folder)
        return folder

    # All processes of a cluster train and measure. One of them holds the folder and writes; the
    # others end when it has.
    before = cluster.finished(folder)
    with ExitStack() as until_end:
        with cluster_joined:
            writes = replicas.this_process().index == 0
            until_end.enter_context(artifacts.locked(folder) if writes else nullcontext())
            source, tickets, evaluation = learn(settings, schema, folder)
        if writes:
            finish(settings, source, folder, tickets, evaluation)
            cluster.say_finished(folder)
        else:
            cluster.wait_for_writer(folder, before)
    return folder


def _without_equal_models(settings: Settings, schema: Schema, folder: Path) -> Settings:
    """Returns the settings without default models that would be the same network, and says so."""
    distinct = model_checks.distinct_models(settings, schema, folder)
    left_out = [model for model in settings.models if model not in distinct.models]
    for model in left_out:
        print(
            f"one task: {model} would be what {model_checks.SAME_OF_ONE_TASK[model]} is, and is "
            f"not trained again; --models={','.join(settings.models)} trains it"
        )
    return distinct


def learn(
    settings: Settings, schema: Schema, folder: Path
) -> tuple[Source, list[Ticket], Evaluation]:
    """Trains and measures every model; each process of a cluster does it, and one writes.

    Returns:
        The logs; each task's search with the ticket that it chose; the content of evaluation.json.
    """
    writes = replicas.this_process().index == 0
    artifacts.sweep(folder)
    say = print if writes else _say_nothing
    source, audit = run_folder.open_audited(settings, schema, folder, f"run: {folder}", say)
    schema = source.schema  # with the amounts' mean and scale, which the audit measured

    with closing(StageLog(folder / paths.TENSORBOARD if writes else None)) as log:
        feed = training_feed(source, audit, settings)
        if note := passes.note_on_passes(settings, feed):
            say(note)
        tickets = train_models(passes.settled(settings, feed), schema, folder, feed, log)

    calibration.calibrate_models(folder, settings, source, say)
    evaluation = evaluate_models(folder, settings, schema, source, "test")
    artifacts.write_json(folder / paths.EVALUATION, artifacts.undefined_as_null(evaluation))
    return source, tickets, evaluation


def _say_nothing(text: str) -> None:
    """Stands for `print` in all processes but one."""


def train_models(
    settings: Settings, schema: Schema, folder: Path, feed: Feed, log: StageLog
) -> list[Ticket]:
    """Finds tickets and trains every model; what an earlier process finished is skipped.

    Returns:
        Each task's search with the ticket that it chose.
    """
    names = [task.name for task in schema.tasks]
    steps = stages.steps_to_come(settings, names, folder, folder, feed)
    out = None if replicas.this_process().index == 0 else io.StringIO()
    fewer, batch_size = stages.may_take_fewer(settings), settings.training.batch_size
    with Progress(steps, batch_size, out, may_end_early=fewer) as progress:
        run = Run(settings, schema, folder, folder, feed, progress, log)
        return stages.train_stages(run)


def finish(
    settings: Settings,
    source: Source,
    folder: Path,
    tickets: list[Ticket],
    evaluation: Evaluation,
) -> None:
    """Exports the network, draws the searches, prints all results."""
    schema = source.schema
    version = publishing.published_version(folder, settings, schema, source)
    exported = default_model(settings, schema, folder)
    pictures = report.draw_run(settings, schema, folder, tickets, evaluation, exported)
    report.print_run(settings, schema, folder, evaluation)
    report.print_places(folder, exported, version, pictures)


if __name__ == "__main__":
    command.run(main)
if __name__ == "lt4rec_tf.train":  # imported, not run
    callable_as(__name__, "lt4rec_tf.api.training", "train")
