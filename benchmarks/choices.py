"""What each choice of training is worth on validation, beside the defaults.

    python benchmarks/choices.py --kuairand=DIR

One flag at a time on hard sharing (configs/compare/choices_models.toml), three seeds, on the
KuaiRand sample in DIR and on the simulated feed. Prints one table: means over the seeds, best pass
of each, and how far the seeds of the defaults lie apart. Goes on where it was stopped.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lt4rec_tf import compare
from lt4rec_tf.core import artifacts
from lt4rec_tf.experiment.comparison.grid import ModelSpec, read_models
from lt4rec_tf.experiment.comparison.results import tested_runs
from lt4rec_tf.experiment.paths import stage_folder
from lt4rec_tf.reports.text_tables import markdown_table
from lt4rec_tf.tickets.search import HISTORY

MODELS = Path("configs/compare/choices_models.toml")
METRICS = {("ctr", "auc"): "CTR AUC", ("cvr", "mse"): "CVR MSE"}

Values = dict[str, np.ndarray]  # by choice: float64 (seeds, metrics)


def main() -> None:
    """Trains every choice on both feeds, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kuairand", required=True, help="folder of the KuaiRand sample")
    parser.add_argument("--simulated", default="data/simulated_feed", help="folder of the feed")
    parser.add_argument("--output_dir", default="runs", help="folder of the comparisons")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    places = parser.parse_args()

    folders = {"kuairand_feedback": places.kuairand, "quickstart": places.simulated}
    values = {}
    for name, data in folders.items():
        folder = Path(places.output_dir) / f"choices_{name}"
        compare.main(
            [
                "compare",
                f"--flagfile=configs/{name}.cfg",
                f"--data_dir={data}",
                f"--run_dir={folder}",
                f"--models_file={MODELS}",
                f"--seeds={','.join(map(str, places.seeds))}",
                "--against=defaults",
                "--cvr_weights=3",
                "--loss_weights=",
                "--reading=memory",
                "--checkpoint_steps=0",
            ]
        )
        values[name] = on_validation(folder)

    tasks = [task for task, _ in METRICS]
    choices = [spec for spec in read_models(MODELS, (), tasks) if not spec.task]
    print(f"\n{choices_table(choices, values)}")


def on_validation(comparison: Path) -> Values:
    """Reads what validation measured of each choice, seed by seed."""
    measured: dict[str, list[list[float]]] = {}
    for _, runs in sorted(tested_runs(comparison).items()):
        for choice, run in runs.items():
            if choice.startswith("base_"):
                continue
            metrics = artifacts.read_json(stage_folder(run, "hard_sharing") / HISTORY)["validation"]
            measured.setdefault(choice, []).append([metrics[task][name] for task, name in METRICS])
    return {choice: np.array(seeds) for choice, seeds in measured.items()}


def choices_table(choices: Sequence[ModelSpec], values: Mapping[str, Values]) -> str:
    """Returns a line for each choice, its difference to the defaults behind each mean.

    Args:
        choices: The lines.
        values: Feed -> what was measured on it.
    """
    header = ["choice"]
    for feed in values:
        header += [f"{feed}: {title}" for title in METRICS.values()]

    lines = []
    for choice in choices:
        name, flags = choice.name, " ".join(f"`{flag}`" for flag in choice.flags)
        cells = [f"{flags or name}: {choice.note}"]
        for feed in values.values():
            means = feed[name].mean(axis=0)
            changes = means - feed["defaults"].mean(axis=0)
            for mean, change in zip(means, changes, strict=True):
                cells.append(f"{mean:.4f}" + (f" ({change:+.4f})" if name != "defaults" else ""))
        lines.append(cells)

    spread = ["standard deviation of the defaults' seeds"]
    for feed in values.values():
        spread += [f"{deviation:.4f}" for deviation in feed["defaults"].std(axis=0, ddof=1)]
    return markdown_table(header, [*lines, spread])


if __name__ == "__main__":
    main()
