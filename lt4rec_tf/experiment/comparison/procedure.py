"""The steps of a comparison: tune, train seeds, measure test once, report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.processes import Failure, Job, JobPool
from lt4rec_tf.experiment.comparison import jobs, results
from lt4rec_tf.experiment.comparison.grid import Candidate, Comparison, ModelSpec, single_lines
from lt4rec_tf.experiment.comparison.trials import Parse, Scored, halved
from lt4rec_tf.experiment.paths import (
    OVERLAP_PICTURE,
    REPORT,
    REPORT_TABLE,
    RESULTS,
    SEARCH_PICTURE,
    SIZE_PICTURE,
)
from lt4rec_tf.experiment.ticket_search import searched_levels
from lt4rec_tf.experiment.trained_models import reported_tasks
from lt4rec_tf.models.registry import MODELS
from lt4rec_tf.reports.comparison import comparison_table, search_table
from lt4rec_tf.reports.comparison_plots import figure4, overlap_bars
from lt4rec_tf.reports.comparison_trials import trials_table
from lt4rec_tf.reports.figures import save_png
from lt4rec_tf.reports.published_numbers import PublishedNumbers, published_table
from lt4rec_tf.reports.size_plots import size_figure, sizes

SingleValues = dict[int, dict[str, float]]  # tuning seed -> task -> metric of its single-task model


def tune(comparison: Comparison, pool: JobPool, parse: Parse) -> None:
    """Trains candidates with the first seeds; validation chooses.

    Args:
        comparison: Holds the candidates, or with --tune_trials the first of them.
        pool: Runs the trainings.
        parse: More flags -> settings, after those of the command.
    """
    seeds = comparison.tuning_seeds
    single_values: SingleValues = {seed: {} for seed in seeds}
    named = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"

    def attempt(wanted: Mapping[str, list[Candidate]], what: str) -> dict[str, list[Scored]]:
        return _attempt(comparison, pool, wanted, f"tuning, {named}{what}:", single_values)

    if comparison.flags.tune_trials:
        rounds = halved(comparison, parse, lambda wanted, what: attempt(wanted, f", {what}"))
    else:
        rounds = [attempt(comparison.grid, "")]

    for spec in comparison.specs:
        of_line = [tried[spec.name] for tried in rounds if spec.name in tried]
        best = max(of_line[-1], key=lambda scored: scored.rank)
        comparison.chosen[spec.name] = best.candidate if best.failure is None else None
        comparison.failures[spec.name] = {} if best.failure is None else {seeds[0]: best.failure}
        comparison.scores[spec.name] = [scored.entry() for tried in of_line for scored in tried]


def _attempt(
    comparison: Comparison,
    pool: JobPool,
    wanted: Mapping[str, list[Candidate]],
    what: str,
    single_values: SingleValues,
) -> dict[str, list[Scored]]:
    """Trains candidates of lines with the tuning seeds and scores them.

    Args:
        comparison: Its lines.
        pool: Runs the trainings.
        wanted: Line -> candidates.
        what: Named before each step.
        single_values: Gets those of the best single-task models so far.
    """
    specs = [spec for spec in comparison.specs if spec.name in wanted]
    runs = [
        (spec, candidate.with_seed(seed))
        for seed in comparison.tuning_seeds
        for spec in specs
        for candidate in wanted[spec.name]
    ]
    failures = _train(comparison, pool, what, runs)

    tried, singles = {}, single_lines(comparison.specs)
    # Single tasks first: joint models are scored against them.
    for spec in sorted(specs, key=lambda spec: not spec.task):
        tried[spec.name] = [
            _score(comparison, spec, candidate, failures, single_values)
            for candidate in wanted[spec.name]
        ]
        best = max(tried[spec.name], key=lambda scored: scored.rank, default=None)
        if spec.name == singles.get(spec.task) and best is not None:
            metric = comparison.schema.task(spec.task).metric
            for seed, metrics in best.metrics.items():
                single_values[seed][spec.task] = metrics[spec.task][metric]
    return tried


def _score(
    comparison: Comparison,
    spec: ModelSpec,
    candidate: Candidate,
    failures: Mapping[str, Failure],
    single_values: SingleValues,
) -> Scored:
    """Scores a candidate by its mean over the tuning seeds; a failed one gets the lowest score."""
    metrics, scores = {}, []
    for seed in comparison.tuning_seeds:
        settings = candidate.with_seed(seed)
        failure = failures.get(_model_name(comparison, spec, settings))
        if failure is not None:
            return Scored(candidate, failure, {}, float("-inf"))
        metrics[seed] = results.validation_metrics(comparison.folder, spec, settings)
        base = single_values[seed]
        scores.append(results.score(comparison.schema, spec, metrics[seed], base))
    return Scored(candidate, None, metrics, sum(scores) / len(scores))


def train_seeds(comparison: Comparison, pool: JobPool) -> None:
    """Trains what was chosen with every other seed."""
    wanted = []
    for seed in comparison.flags.seeds[comparison.flags.tuning_seeds :]:
        for spec in comparison.specs:
            candidate = comparison.chosen[spec.name]
            if candidate is not None:
                wanted.append((spec, candidate.with_seed(seed)))

    failures = _train(comparison, pool, "other seeds:", wanted)
    for spec, settings in wanted:
        failure = failures.get(_model_name(comparison, spec, settings))
        if failure:
            comparison.failures[spec.name][settings.seed] = failure


def _train(
    comparison: Comparison, pool: JobPool, what: str, wanted: list[tuple[ModelSpec, Settings]]
) -> dict[str, Failure]:
    """Searches, then trains; what is done is skipped.

    Returns:
        Name of a run, as `_model_name` has it -> why it failed, or why its search did.
    """
    folder = comparison.folder
    wanted = [pair for pair in wanted if not jobs.is_trained(folder, *pair)]
    failed_searches = pool.run(f"{what} searches", _search_jobs(comparison, wanted))

    trainings: list[Job] = []
    failures: dict[str, Failure] = {}
    for spec, settings in wanted:
        name = _model_name(comparison, spec, settings)
        search_name = _search_name(comparison, settings)
        if search_name in failed_searches:
            failures[name] = failed_searches[search_name]
            continue
        passes = {
            "s_weight_auto": settings.training.auto_trainings,
            "s_joint": settings.tickets.rounds + 1,
            "s_gates": 2,
            "csmf": len(comparison.schema.tasks),
        }.get(spec.model, 1)
        trainings.append(Job(name, jobs.train, (folder, spec.name, settings), passes))

    # The longest first, so that no process is left with one at the end.
    trainings.sort(key=lambda job: -job.passes)
    return failures | pool.run(f"{what} models", trainings)


def _search_jobs(comparison: Comparison, wanted: list[tuple[ModelSpec, Settings]]) -> list[Job]:
    """Returns a job for each search that is not done, the longest first."""
    searches: dict[str, Job] = {}
    # Where several models share a search, it must find what the most demanding of them needs.
    for spec, settings in sorted(wanted, key=lambda pair: -jobs.DEPTHS.index(_depth(pair[0]))):
        depth, name = _depth(spec), _search_name(comparison, settings)
        if name not in searches and not jobs.is_searched(comparison.folder, settings, depth):
            levels = {"start": 0, "dense": 1, "tickets": searched_levels(settings)}[depth]
            passes = levels * len(comparison.schema.tasks) + settings.tickets.warmup_epochs
            searches[name] = Job(name, jobs.search, (comparison.folder, settings, depth), passes)
    return sorted(searches.values(), key=lambda job: -job.passes)


def _depth(spec: ModelSpec) -> str:
    """Returns how far a model needs its search to go, one of `jobs.DEPTHS`."""
    if MODELS[spec.model].needs_tickets:
        return "tickets"
    return "dense" if spec.model == "base" else "start"


def _search_name(comparison: Comparison, settings: Settings) -> str:
    folder = jobs.search_folder(comparison.folder, settings)
    return folder.relative_to(comparison.folder).as_posix()


def _model_name(comparison: Comparison, spec: ModelSpec, settings: Settings) -> str:
    folder = jobs.model_folder(comparison.folder, spec.name, settings)
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
            name = f"test/{_model_name(comparison, spec, settings)}"
            arguments = (comparison.folder, spec.name, settings, jobs.test_name(spec))
            tests.append(Job(name, jobs.test, arguments))
            owners[name] = (spec.name, seed)

    for name, failure in pool.run("test", tests).items():
        line, seed = owners[name]
        comparison.failures[line][seed] = failure


def report(
    comparison: Comparison, settings: Settings, published: PublishedNumbers | None = None
) -> None:
    """Writes report/ and prints the table, with published numbers where there are some."""
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
    if comparison.flags.tune_trials:
        table += f"\n\n### Trials, on validation\n\n{trials_table(content['rows'])}"
    if published is not None:
        table += f"\n\n{published_table(published, content['rows'])}"
    artifacts.write_atomically(folder / REPORT_TABLE, table)
    print(f"\n{table}\n")

    if searches:
        save_png(figure4(searches), folder / SEARCH_PICTURE)
        save_png(overlap_bars(content), folder / OVERLAP_PICTURE)
    if len(sizes(content)) > 1:
        save_png(size_figure(content), folder / SIZE_PICTURE)
    print(f"report: {folder}")
