"""The steps of a comparison: tune, train seeds, measure test once, report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lt4rec_tf.config.settings import TICKET_ROWS, Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.processes import Failure, Job, JobPool
from lt4rec_tf.experiment.comparison import jobs as work
from lt4rec_tf.experiment.comparison import results
from lt4rec_tf.experiment.comparison.grid import Candidate, CompareFlags, RowSpec
from lt4rec_tf.experiment.rows import reported_tasks
from lt4rec_tf.experiment.ticket_search import searched_levels
from lt4rec_tf.reports.comparison import comparison_table, search_table
from lt4rec_tf.reports.comparison_plots import figure4, overlap_bars
from lt4rec_tf.reports.plots import save_png
from lt4rec_tf.reports.size_plots import size_figure, sizes
from lt4rec_tf.schema.types import Schema


@dataclass
class Comparison:
    """A comparison and how far it is.

    Attributes:
        folder: Where all its runs lie.
        schema: The tasks.
        flags: What it is.
        specs: Its lines.
        grid: Line -> its candidates.
        failures: Line -> seed -> why there is no result.
        chosen: Line -> the candidate that validation chose; None where all failed.
        scores: Line -> each candidate's settings and score, for the report.
    """

    folder: Path
    schema: Schema
    flags: CompareFlags
    specs: list[RowSpec]
    grid: dict[str, list[Candidate]]
    failures: dict[str, dict[int, Failure]] = field(default_factory=dict)
    chosen: dict[str, Candidate | None] = field(default_factory=dict)
    scores: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def tune(comparison: Comparison, pool: JobPool) -> None:
    """Trains every candidate with the first seed; validation chooses."""
    seed = comparison.flags.seeds[0]
    tried = [
        (spec, candidate.with_seed(seed))
        for spec in comparison.specs
        for candidate in comparison.grid[spec.name]
    ]
    failed = _train(comparison, pool, f"tuning, seed {seed}:", tried)
    base: dict[str, float] = {}
    # Single tasks first: joint rows are scored against them.
    for spec in sorted(comparison.specs, key=lambda spec: not spec.task):
        scored = []
        for candidate in comparison.grid[spec.name]:
            settings = candidate.with_seed(seed)
            failure = failed.get(_row_name(comparison, spec, settings))
            metrics, score = None, float("-inf")
            if failure is None:
                metrics = results.validation_metrics(comparison.folder, spec, settings)
                score = results.score(comparison.schema, spec, metrics, base)
            scored.append((score, candidate, failure, metrics))
        best = max(scored, key=lambda found: (found[2] is None, found[0]))
        comparison.failures[spec.name] = {}
        comparison.chosen[spec.name] = best[1] if best[2] is None else None
        if best[2] is not None:
            comparison.failures[spec.name][seed] = best[2]
        if spec.task and best[3] is not None:
            base[spec.task] = best[3][spec.task][comparison.schema.task(spec.task).metric]
        comparison.scores[spec.name] = [
            {
                **candidate.chosen,
                "score": results.finite_or_none(score),
                **({"error": failure.error} if failure else {}),
            }
            for score, candidate, failure, _ in scored
        ]


def train_seeds(comparison: Comparison, pool: JobPool) -> None:
    """Trains what was chosen with every other seed."""
    wanted = [
        (spec, candidate.with_seed(seed))
        for seed in comparison.flags.seeds[1:]
        for spec in comparison.specs
        if (candidate := comparison.chosen[spec.name]) is not None
    ]
    failed = _train(comparison, pool, "other seeds:", wanted)
    for spec, settings in wanted:
        failure = failed.get(_row_name(comparison, spec, settings))
        if failure:
            comparison.failures[spec.name][settings.seed] = failure


def _train(
    comparison: Comparison, pool: JobPool, what: str, wanted: list[tuple[RowSpec, Settings]]
) -> dict[str, Failure]:
    """Searches, then trains; what is done is skipped. Returns failures by `_row_name`."""
    folder = comparison.folder
    wanted = [pair for pair in wanted if not work.is_trained(folder, *pair)]
    failed = pool.run(f"{what} searches", _search_jobs(comparison, wanted))
    jobs, found = [], {}
    for spec, settings in wanted:
        name = _row_name(comparison, spec, settings)
        search = failed.get(_search_name(comparison, settings))
        if search:
            found[name] = search
            continue
        trainings = settings.training.auto_trainings if spec.row == "s_weight_auto" else 1
        jobs.append(Job(name, work.train, (folder, spec.name, settings), trainings))
    return found | pool.run(f"{what} rows", sorted(jobs, key=lambda job: -job.passes))


def _search_jobs(comparison: Comparison, wanted: list[tuple[RowSpec, Settings]]) -> list[Job]:
    jobs: dict[str, Job] = {}
    # Where several rows share a search, it must find what the most demanding of them needs.
    for spec, settings in sorted(wanted, key=lambda pair: -work.DEPTHS.index(_depth(pair[0]))):
        depth, name = _depth(spec), _search_name(comparison, settings)
        if name not in jobs and not work.is_searched(comparison.folder, settings, depth):
            levels = {"start": 0, "dense": 1, "tickets": searched_levels(settings)}[depth]
            passes = levels * len(comparison.schema.tasks) + settings.tickets.warmup_epochs
            jobs[name] = Job(name, work.search, (comparison.folder, settings, depth), passes)
    return sorted(jobs.values(), key=lambda job: -job.passes)


def _depth(spec: RowSpec) -> str:
    """How far a row needs its search to go, one of `work.DEPTHS`."""
    if spec.row in TICKET_ROWS:
        return "tickets"
    return "dense" if spec.row == "base" else "start"


def _search_name(comparison: Comparison, settings: Settings) -> str:
    folder = work.search_folder(comparison.folder, settings)
    return folder.relative_to(comparison.folder).as_posix()


def _row_name(comparison: Comparison, spec: RowSpec, settings: Settings) -> str:
    folder = work.row_folder(comparison.folder, spec.name, settings)
    return folder.relative_to(comparison.folder).as_posix()


def test_all(comparison: Comparison, pool: JobPool) -> None:
    """Measures every run that the table shows on test."""
    jobs, owners = [], {}
    for spec in comparison.specs:
        candidate = comparison.chosen[spec.name]
        for seed in comparison.flags.seeds:
            if candidate is None or seed in comparison.failures[spec.name]:
                continue
            settings = candidate.with_seed(seed)
            if work.is_tested(comparison.folder, spec, settings):
                continue
            name = f"test/{_row_name(comparison, spec, settings)}"
            arguments = (comparison.folder, spec.name, settings, work.test_name(spec))
            jobs.append(Job(name, work.test, arguments))
            owners[name] = (spec.name, seed)
    for name, failure in pool.run("test", jobs).items():
        line, seed = owners[name]
        comparison.failures[line][seed] = failure


def report(comparison: Comparison, settings: Settings) -> None:
    """Writes report/ and prints the table."""
    found: Mapping[str, Any] = {
        "name": settings.name,
        "split": "test",
        "seeds": list(comparison.flags.seeds),
        "tasks": reported_tasks(comparison.schema),
        **results.collect(
            comparison.folder,
            comparison.schema,
            comparison.specs,
            comparison.chosen,
            comparison.scores,
            comparison.failures,
            comparison.flags.seeds,
            comparison.flags.replicates,
            comparison.flags.against,
        ),
    }
    folder = comparison.folder / "report"
    artifacts.write_json(comparison.folder / results.REPORT, artifacts.undefined_as_null(found))
    table = comparison_table(found)
    if found["searches"]:
        table += f"\n\n### Ticket searches, on validation\n\n{search_table(found['searches'])}"
    artifacts.write_atomically(folder / "table2.md", table)
    print(f"\n{table}\n")
    if found["searches"]:
        save_png(figure4(found["searches"]), folder / "figure4.png")
        save_png(overlap_bars(found), folder / "overlap.png")
    if len(sizes(found)) > 1:
        save_png(size_figure(found), folder / "table_sizes.png")
    print(f"report: {folder}")
