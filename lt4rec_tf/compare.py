"""Trains every row of a comparison over several seeds and writes one table with intervals.

    python -m lt4rec_tf.compare --flagfile=configs/compare/simulated.cfg

The first seed tunes: each row's candidates are trained, validation chooses. The other seeds train
what was chosen. Test is measured once, at the end. Started again with the same flags, it goes on
where it was stopped; rows that were added to the file are trained beside those that are done.
"""

from __future__ import annotations

from functools import partial

from lt4rec_tf.core.command import before_tensorflow, prepare_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from lt4rec_tf.config.checks import check_tasks
from lt4rec_tf.config.parse import parse_with
from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.command import exit_on_error
from lt4rec_tf.core.processes import JobPool
from lt4rec_tf.experiment import run_folder as entry
from lt4rec_tf.experiment.comparison import results
from lt4rec_tf.experiment.comparison.grid import (
    CompareFlags,
    candidates,
    check_flags,
    check_one_machine,
    read_rows,
)
from lt4rec_tf.experiment.comparison.procedure import (
    Comparison,
    report,
    test_all,
    train_seeds,
    tune,
)
from lt4rec_tf.experiment.paths import LOGS, run_folder


def main(argv: Sequence[str]) -> None:
    """Runs the whole comparison, from flags to the report."""
    settings, places, flags = parse_with(argv, __doc__ or "", CompareFlags)
    schema = entry.read_schema(settings.data.schema, settings)
    check_flags(flags)
    check_one_machine(settings)
    results.check_metrics(schema)
    specs = read_rows(Path(flags.rows_file), flags.only, [task.name for task in schema.tasks])

    def parse(more: Sequence[str]) -> Settings:
        parsed, _, _ = parse_with([*argv, *more], "", CompareFlags)
        check_one_machine(parsed)
        check_tasks(parsed, [task.name for task in schema.tasks])
        return parsed

    grid = {spec.name: candidates(spec, flags, parse) for spec in specs}
    folder = run_folder(settings, places)
    folder = folder if places.run_dir else folder.parent
    with artifacts.locked(folder):
        source, _ = entry.open_audited(settings, schema, folder, f"comparison: {folder}", print)
        comparison = Comparison(folder, source.schema, flags, specs, grid)
        processes = flags.jobs or os.cpu_count() or 1
        prepare = partial(prepare_tensorflow, flags.threads)
        with closing(JobPool(processes, prepare, folder / LOGS, _say)) as pool:
            tune(comparison, pool)
            train_seeds(comparison, pool)
            test_all(comparison, pool)
        report(comparison, settings)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(exit_on_error(main, sys.argv))
