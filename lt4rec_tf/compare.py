"""Trains every model of a comparison over several seeds and writes one table with intervals.

    python -m lt4rec_tf.compare --flagfile=configs/compare/simulated.cfg

The first seed tunes, or the first --tuning_seeds: each model's candidates are trained, validation
chooses. The other seeds train what was chosen. Test is measured once, at the end. Started again
with the same flags, it goes on where it was stopped; models that were added to the file are trained
beside those that are done.
"""

from __future__ import annotations

from lt4rec_tf.core.command import before_tensorflow
from lt4rec_tf.core.processes import end_with_parent

if __name__ == "__main__":
    before_tensorflow()
if __name__ == "__mp_main__":  # a process of a pool, which imports this module before all else
    end_with_parent()
    before_tensorflow()

import os
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from lt4rec_tf.config.checks import check_tasks
from lt4rec_tf.config.parse import parse_with
from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts, command
from lt4rec_tf.core.processes import JobPool
from lt4rec_tf.experiment import paths, run_folder
from lt4rec_tf.experiment.comparison import grid, procedure, results
from lt4rec_tf.experiment.comparison.trials import first_trials
from lt4rec_tf.experiment.sizes import check_sizes
from lt4rec_tf.models import registry
from lt4rec_tf.reports.published_numbers import published_table, read_published
from lt4rec_tf.training.evaluation import measured_metrics


def main(argv: Sequence[str]) -> None:
    """Runs the whole comparison, from flags to the report."""
    settings, places, flags = parse_with(
        argv, __doc__ or "", grid.CompareFlags, registry.descriptions()
    )
    schema = run_folder.read_schema(settings.data.schema, settings)
    task_names = [task.name for task in schema.tasks]
    grid.check_flags(flags, task_names)
    grid.check_run_settings(settings)
    results.check_metrics(schema)
    specs = grid.read_models(Path(flags.models_file), flags.only, task_names)
    published = None
    if flags.published_file:
        published = read_published(Path(flags.published_file), measured_metrics(schema))
    if published is not None and flags.published_only:
        _say(published_table(published))
        return

    def parse(more: Sequence[str]) -> Settings:
        """Parses the command's flags with a model's own behind them."""
        parsed, _, _ = parse_with([*argv, *more], "", grid.CompareFlags)
        grid.check_run_settings(parsed)
        check_tasks(parsed, task_names)
        check_sizes(parsed, run_folder.read_schema(parsed.data.schema, parsed))
        return parsed

    candidates_of = first_trials if flags.tune_trials else grid.candidates
    candidates = {spec.name: candidates_of(spec, flags, parse) for spec in specs}
    folder = paths.run_folder(settings, places)
    folder = folder if places.run_dir else folder.parent  # a comparison holds several seeds
    with artifacts.locked(folder):
        title = f"comparison: {folder}"
        source, _ = run_folder.open_audited(settings, schema, folder, title, print)
        comparison = grid.Comparison(folder, source.schema, flags, specs, candidates)

        processes = flags.jobs or os.cpu_count() or 1
        prepare = partial(command.prepare_tensorflow, flags.threads)
        with closing(JobPool(processes, prepare, folder / paths.LOGS, _say)) as pool:
            procedure.tune(comparison, pool, parse)
            procedure.train_seeds(comparison, pool)
            procedure.test_all(comparison, pool)
        procedure.report(comparison, settings, published)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    command.run(main)
