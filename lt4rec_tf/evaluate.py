"""Measures every model of a run over a whole split and writes evaluation.json.

    python -m lt4rec_tf.evaluate --run=runs/quickstart-0123456789/seed_1

With --importance also how much worse each task is when a feature's values are permuted.
"""

from __future__ import annotations

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lt4rec_tf.core import artifacts, command
from lt4rec_tf.core.flags import flag, parse_flags
from lt4rec_tf.experiment.evaluation import evaluate_models, open_run
from lt4rec_tf.experiment.importance import feature_importance
from lt4rec_tf.experiment.paths import evaluation_file, importance_file, reliability_file
from lt4rec_tf.experiment.trained_models import default_model
from lt4rec_tf.reports.calibration import calibration_table
from lt4rec_tf.reports.figures import save_png
from lt4rec_tf.reports.importance import importance_tables
from lt4rec_tf.reports.reliability import label_tables, reliability_figure
from lt4rec_tf.reports.text_tables import evaluation_table, full_table
from lt4rec_tf.reports.watch_time import watch_time_tables


@dataclass(frozen=True)
class _Flags:
    run: str = flag("", "Folder that holds config.json: the run to measure.", required=True)
    data_dir: str = flag("", "Where the run's logs lie now, if not where they were.")
    split: Literal["train", "validation", "test"] = flag("test", "Split to measure.")
    importance: bool = flag(
        False, "Measure too what each task loses when a feature's values are permuted."
    )


def main(argv: Sequence[str]) -> None:
    """Reads a run, measures its models, prints and writes their metrics."""
    values = parse_flags(argv, __doc__ or "", [_Flags])
    folder, settings, schema, source = open_run(values["run"], values["data_dir"])
    # Where all rows train, evaluation.json holds what was measured before.
    split = "train" if settings.data.split == "none" else values["split"]

    evaluation = evaluate_models(folder, settings, schema, source, split)
    exported = default_model(settings, schema, folder)
    tables = [evaluation_table(evaluation), full_table(evaluation)]
    if calibration := calibration_table(evaluation):
        tables.append(calibration)
    tables += watch_time_tables(evaluation, exported)
    print(*tables, *label_tables(evaluation, exported), sep="\n\n")

    path, picture = evaluation_file(folder, split), reliability_file(folder, split)
    artifacts.write_json(path, artifacts.undefined_as_null(evaluation))
    save_png(reliability_figure(evaluation, exported), picture)
    print(f"\nwritten to {path}\ncalibration of {exported}: {picture}")

    if values["importance"]:
        importance = feature_importance(folder, settings, schema, source, split, print)
        print("\n" + "\n\n".join(importance_tables(importance)))
        path = importance_file(folder, split)
        artifacts.write_json(path, artifacts.undefined_as_null(importance))
        print(f"\nwritten to {path}")


if __name__ == "__main__":
    command.run(main)
