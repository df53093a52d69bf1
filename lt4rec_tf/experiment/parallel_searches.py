"""Parallel searches: a process for each task.

Steps of a single-task network are too small to fill several cores. Searches of different tasks
have nothing in common but theta_0 and the logs, so each can have a process and cores of its own.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.command import prepare_tensorflow
from lt4rec_tf.core.processes import Job, JobPool, threads_per_process
from lt4rec_tf.core.progress import Progress
from lt4rec_tf.experiment import logs, run_folder
from lt4rec_tf.experiment.feed import training_feed
from lt4rec_tf.experiment.passes import may_end_early
from lt4rec_tf.experiment.paths import LOGS, TENSORBOARD, ticket_folder
from lt4rec_tf.experiment.run import Run, network_in
from lt4rec_tf.experiment.ticket_search import (
    find_ticket,
    level_folders,
    pending_epochs,
    searched_levels,
)
from lt4rec_tf.reports.run_report import StageLog
from lt4rec_tf.training.precision import settled
from lt4rec_tf.training.stage import TrainingError


def search_in_parallel(run: Run) -> None:
    """Finishes the searches that are not; `find_ticket` reads them back afterwards.

    With --search_processes of 1, or one search left, it leaves them to `find_ticket`.

    Raises:
        TrainingError: A search failed; the others were finished.
    """
    pending = [task for task in run.tasks if not _is_finished(run, task)]
    processes = min(run.settings.training.search_processes, len(pending))
    if processes < 2:
        return

    settled(run.settings.training.precision, run.searches)  # once, not by each process
    threads = threads_per_process(processes)
    levels = searched_levels(run.settings)
    epochs = sum(pending_epochs(run.settings, run.searches, task) for task in pending)
    jobs = [Job(task, search_task, (run.folder, run.settings, task), levels) for task in pending]
    log_folder = run.folder / LOGS
    run.progress.note(
        f"{processes} ticket searches side by side, {threads} threads each: {log_folder}"
    )

    prepare = partial(prepare_tensorflow, threads)
    with closing(JobPool(processes, prepare, log_folder, run.progress.note)) as pool:
        failures = pool.run("ticket searches", jobs)
    run.progress.skip(epochs * run.feed.steps_per_epoch)
    if failures:
        task, failure = next(iter(failures.items()))
        raise TrainingError(f"ticket search of {task}: {failure.error} (log: {failure.log})")


def _is_finished(run: Run, task: str) -> bool:
    return artifacts.is_done(level_folders(run.settings, run.searches, task)[-1])


def search_task(folder: Path, settings: Settings, task: str) -> None:
    """Searches one task's ticket, in a process of its own.

    Args:
        folder: RUN, with theta_0 and the audit.
        settings: The run's.
        task: Whose ticket is searched.
    """
    schema = run_folder.read_schema(settings.data.schema, settings)
    source = logs.read_audited(logs.open_logs(settings.data, schema), folder)
    schema = source.schema
    feed = training_feed(source, logs.read_audit(folder), settings)

    training = settings.training
    steps = searched_levels(settings) * training.search_epochs * feed.steps_per_epoch
    fewer = may_end_early(training.search_epochs, training.patience)
    with (
        artifacts.locked(ticket_folder(folder, task)),
        closing(StageLog(folder / TENSORBOARD)) as log,
        Progress(steps, training.batch_size, may_end_early=fewer) as progress,
    ):
        run = Run(settings, schema, folder, folder, feed, progress, log)
        find_ticket(run, network_in(run, "s_weight"), task)
