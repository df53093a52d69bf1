"""Trains other packages' models on the rows of a run and measures them on its test split.

    python benchmarks/quality_rows.py --output=rows.npz --flagfile=configs/kuairand_feedback.cfg --data_dir=DIR
    python3.11 -m venv peers
    peers/bin/pip install tensorflow==2.21.0 tf_keras==2.21.0 lightgbm==4.7.0 scikit-learn==1.9.1 h5py requests
    peers/bin/pip install --no-deps deepctr==0.9.4
    peers/bin/python benchmarks/quality.py --rows=rows.npz --loss_weights cvr=3

quality_rows.py runs where this project is installed, the rest in an environment of its own. DeepCTR's
SharedBottom, MMOE and PLE have their default layers and regularisation, and learn by Adam; a task
outside of whose population a row lies does not learn from it, and its loss is the mean over its
population, as in this project. A DIN is trained for each task, where the schema has lists of events
with candidates; it is none of the models that are trained by default. The pass with the lowest weighted loss on validation is kept. Of
LightGBM each task has a model of its own, with the number of trees that validation chooses. Test is
measured once, at the end. Shown are means over the seeds and their standard deviation.
"""  # noqa: E501

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from quality_networks import DIN_PEER, NETWORKS
from quality_results import METRICS, SPLITS, Result, Rows, measured, read
from quality_trees import TREES

PACKAGES = ("deepctr", "tensorflow", "lightgbm")


def main() -> None:
    """Trains each model with each seed and prints the table."""
    train: dict[str, Callable[[Rows, int, argparse.Namespace], Result]] = NETWORKS | TREES
    usual = [name for name in train if name != DIN_PEER]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=Path, required=True, help="file of quality_rows.py")
    parser.add_argument("--models", nargs="+", default=usual, choices=list(train))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--loss_weights", nargs="*", default=[], help="of networks, as cvr=3")
    parser.add_argument("--passes", type=int, default=5, help="of networks, the best is kept")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--learning_rate", type=float, default=0.001, help="of networks")
    parser.add_argument("--dimension", type=int, default=16, help="of networks' embeddings")
    parser.add_argument(
        "--most_categories", type=int, default=500,
        help="native categories of LightGBM: features with more values are ids and left out",
    )  # fmt: skip
    flags = parser.parse_args()

    rows = read(flags.rows)
    weights = dict(pair.split("=") for pair in flags.loss_weights)
    flags.loss_weights = {task: float(weights.pop(task, 1)) for task in rows.kinds}
    if weights:
        parser.error(
            f"--loss_weights: found {', '.join(weights)}, expected {', '.join(rows.kinds)}"
        )

    print(f"{', '.join(f'{name} {version(name)}' for name in PACKAGES)}; {machine()}; seeds "
          f"{', '.join(map(str, flags.seeds))}; {sizes(rows)}\n")  # fmt: skip
    lines = []
    for name in flags.models:
        begun, results = time.perf_counter(), []
        for seed in flags.seeds:
            results.append(train[name](rows, seed, flags))
            scores = measured(rows, results[-1]).items()
            print(
                f"{name}, seed {seed}: {', '.join(f'{k} {v:.5f}' for k, v in scores)}", flush=True
            )
        seconds = (time.perf_counter() - begun) / len(flags.seeds)
        lines.append(line_of(name, rows, results, seconds))
    header = [f"{task} {METRICS[kind]}" for task, kind in rows.kinds.items()]
    print("\n" + table(["model", *header, "best pass or trees", "seconds a seed"], lines))


def line_of(name: str, rows: Rows, results: Sequence[Result], seconds: float) -> list[str]:
    """Returns a model's line of the table."""
    scores = [measured(rows, result) for result in results]
    best = [np.mean([result.best[task] for result in results]) for task in rows.kinds]
    chosen = " / ".join(dict.fromkeys(f"{value:.3g}" for value in best))
    return [
        name,
        *(mean_and_deviation([score[task] for score in scores]) for task in rows.kinds),
        chosen,
        f"{seconds:.0f}",
    ]


def mean_and_deviation(values: Sequence[float]) -> str:
    """Returns the mean and, of several values, their standard deviation."""
    spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{spread}"


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table; this project's own is not at hand here."""
    ruler = ["---"] + ["--:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, ruler, *lines))


def machine() -> str:
    """Returns the processor's name and the number of cores."""
    path = Path("/proc/cpuinfo")
    names = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    name = next((line.split(": ")[1] for line in names if line.startswith("model name")), "")
    return f"{name or platform.machine()}, {os.cpu_count()} cores"


def sizes(rows: Rows) -> str:
    """Returns the number of rows of each split."""
    return ", ".join(f"{len(rows.arrays[f'{split}/user']):,} {split}" for split in SPLITS)


if __name__ == "__main__":
    main()
