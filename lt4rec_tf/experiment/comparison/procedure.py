"""The steps of a comparison: tune, train seeds, measure test once, report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.processes import Failure, Job, JobPool
from lt4rec_tf.experiment.comparison import jobs, results
from lt4rec_tf.experiment.comparison.grid import Candidate, Comparison, RowSpec
from lt4rec_tf.experiment.paths import (
    OVERLAP_PICTURE,
    REPORT,
    REPORT_TABLE,
    RESULTS,
    SEARCH_PICTURE,
    SIZE_PICTURE,
)
from lt4rec_tf.experiment.rows import reported_tasks
from lt4rec_tf.experiment.ticket_search import searched_levels
from lt4rec_tf.models.registry import MODELS
from lt4rec_tf.reports.comparison import comparison_table, search_table
from lt4rec_tf.reports.comparison_plots import figure4, overlap_bars
from lt4rec_tf.reports.figures import save_png
from lt4rec_tf.reports.size_plots import size_figure, sizes
from lt4rec_tf.training.evaluation import Metrics


def tune(comparison: Comparison, pool: JobPool) -> None:
    """Trains every candidate with the first seed; validation chooses."""
    seed = comparison.flags.seeds[0]
    wanted = []
    for spec in comparison.specs:
        wanted += [(spec, candidate.with_seed(seed)) for candidate in comparison.grid[spec.name]]
    failures = _train(comparison, pool, f"tuning, seed {seed}:", wanted)

    single_values: dict[str, float] = {}
    # Single tasks first: joint rows are scored against them.
    for spec in sorted(comparison.specs, key=lambda spec: not spec.task):
        scored = []
        for candidate in comparison.grid[spec.name]:
            settings = candidate.with_seed(seed)
            failure = failures.get(_row_name(comparison, spec, settings))
            scored.append(_score(comparison, spec, candidate, failure, single_values))

        # What ended is better than what failed, whatever its score.
        best = max(scored, key=lambda tried: (tried.failure is None, tried.score))
        comparison.chosen[spec.name] = best.candidate if best.failure is None else None
        comparison.failures[spec.name] = {} if best.failure is None else {seed: best.failure}
        comparison.scores[spec.name] = [tried.entry() for tried in scored]

        if spec.task and best.metrics is not None:
            metric = comparison.schema.task(spec.task).metric
            single_values[spec.task] = best.metrics[spec.task][metric]


@dataclass(frozen=True)
class _Scored:
    """A candidate and what validation says of it."""

    candidate: Candidate
    failure: Failure | None
    metrics: Metrics | None
    score: float

    def entry(self) -> dict[str, Any]:
        """Returns the candidate's entry in the report."""
        entry = {**self.candidate.chosen, "score": results.finite_or_none(self.score)}
        return entry | {"error": self.failure.error} if self.failure else entry


def _score(
    comparison: Comparison,
    spec: RowSpec,
    candidate: Candidate,
    failure: Failure | None,
    single_values: Mapping[str, float],
) -> _Scored:
    """Scores a candidate of the first seed; a failed one gets the lowest score."""
    if failure is not None:
        return _Scored(candidate, failure, None, float("-inf"))
    settings = candidate.with_seed(comparison.flags.seeds[0])
    metrics = results.validation_metrics(comparison.folder, spec, settings)
    score = results.score(comparison.schema, spec, metrics, single_values)
    return _Scored(candidate, None, metrics, score)


def train_seeds(comparison: Comparison, pool: JobPool) -> None:
    """Trains what was chosen with every other seed."""
    wanted = []
    for seed in comparison.flags.seeds[1:]:
        for spec in comparison.specs:
            candidate = comparison.chosen[spec.name]
            if candidate is not None:
                wanted.append((spec, candidate.with_seed(seed)))

    failures = _train(comparison, pool, "other seeds:", wanted)
    for spec, settings in wanted:
        failure = failures.get(_row_name(comparison, spec, settings))
        if failure:
            comparison.failures[spec.name][settings.seed] = failure


def _train(
    comparison: Comparison, pool: JobPool, what: str, wanted: list[tuple[RowSpec, Settings]]
) -> dict[str, Failure]:
    """Searches, then trains; what is done is skipped.

    Returns:
        Name of a run, as `_row_name` has it -> why it failed, or why its search did.
    """
    folder = comparison.folder
    wanted = [pair for pair in wanted if not jobs.is_trained(folder, *pair)]
    failed_searches = pool.run(f"{what} searches", _search_jobs(comparison, wanted))

    trainings: list[Job] = []
    failures: dict[str, Failure] = {}
    for spec, settings in wanted:
        name = _row_name(comparison, spec, settings)
        search_name = _search_name(comparison, settings)
        if search_name in failed_searches:
            failures[name] = failed_searches[search_name]
            continue
        passes = settings.training.auto_trainings if spec.row == "s_weight_auto" else 1
        trainings.append(Job(name, jobs.train, (folder, spec.name, settings), passes))

    # The longest first, so that no process is left with one at the end.
    trainings.sort(key=lambda job: -job.passes)
    return failures | pool.run(f"{what} rows", trainings)


def _search_jobs(comparison: Comparison, wanted: list[tuple[RowSpec, Settings]]) -> list[Job]:
    """Returns a job for each search that is not done, the longest first."""
    searches: dict[str, Job] = {}
    # Where several rows share a search, it must find what the most demanding of them needs.
    for spec, settings in sorted(wanted, key=lambda pair: -jobs.DEPTHS.index(_depth(pair[0]))):
        depth, name = _depth(spec), _search_name(comparison, settings)
        if name not in searches and not jobs.is_searched(comparison.folder, settings, depth):
            levels = {"start": 0, "dense": 1, "tickets": searched_levels(settings)}[depth]
            passes = levels * len(comparison.schema.tasks) + settings.tickets.warmup_epochs
            searches[name] = Job(name, jobs.search, (comparison.folder, settings, depth), passes)
    return sorted(searches.values(), key=lambda job: -job.passes)


def _depth(spec: RowSpec) -> str:
    """Returns how far a row needs its search to go, one of `jobs.DEPTHS`."""
    if MODELS[spec.row].needs_tickets:
        return "tickets"
    return "dense" if spec.row == "base" else "start"


def _search_name(comparison: Comparison, settings: Settings) -> str:
    folder = jobs.search_folder(comparison.folder, settings)
    return folder.relative_to(comparison.folder).as_posix()


def _row_name(comparison: Comparison, spec: RowSpec, settings: Settings) -> str:
    folder = jobs.row_folder(comparison.folder, spec.name, settings)
    return folder.relative_to(comparison.folder).as_posix()


def test_all(comparison: Comparison, pool: JobPool) -> None:
    """Measures every run that the table shows on test."""
    tests: list[Job] = []
    owners: dict[str, tuple[str, int]] = {}
    for spec in comparison.specs:
        candidate = comparison.chosen[spec.name]
        for seed in comparison.flags.seeds:
            if candidate is None or seed in comparison.failures[spec.name]:
                continue
            settings = candidate.with_seed(seed)
            if jobs.is_tested(comparison.folder, spec, settings):
                continue
            name = f"test/{_row_name(comparison, spec, settings)}"
            arguments = (comparison.folder, spec.name, settings, jobs.test_name(spec))
            tests.append(Job(name, jobs.test, arguments))
            owners[name] = (spec.name, seed)

    for name, failure in pool.run("test", tests).items():
        line, seed = owners[name]
        comparison.failures[line][seed] = failure


def report(comparison: Comparison, settings: Settings) -> None:
    """Writes report/ and prints the table."""
    content: Mapping[str, Any] = {
        "name": settings.name,
        "split": "test",
        "seeds": list(comparison.flags.seeds),
        "tasks": reported_tasks(comparison.schema),
        "resampled": "users" if comparison.schema.user else "rows",
        **results.collect(comparison),
    }
    folder, searches = comparison.folder / REPORT, content["searches"]
    artifacts.write_json(folder / RESULTS, artifacts.undefined_as_null(content))

    table = comparison_table(content)
    if searches:
        table += f"\n\n### Ticket searches, on validation\n\n{search_table(searches)}"
    artifacts.write_atomically(folder / REPORT_TABLE, table)
    print(f"\n{table}\n")

    if searches:
        save_png(figure4(searches), folder / SEARCH_PICTURE)
        save_png(overlap_bars(content), folder / OVERLAP_PICTURE)
    if len(sizes(content)) > 1:
        save_png(size_figure(content), folder / SIZE_PICTURE)
    print(f"report: {folder}")
