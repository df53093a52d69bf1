"""CVR of a comparison on the simulated feed: on clicks, and against the truth where nobody clicked.

    python -m lt4rec_tf.compare --flagfile=configs/compare/entire_space.cfg
    python benchmarks/entire_space.py --comparison=runs/compare_entire_space-0123456789

A log knows the watch ratio of clicks alone. The simulator knows what each impression's would be on
average, had it been clicked: the truth. Every model's predictions for the test split are measured
on clicks, against what was watched and against the truth, and against the truth on all impressions
and on those without a click. Intervals are of a bootstrap over users and seeds, differences paired
with those of `--against`. The last table estimates each model's mean error on all impressions from
clicks alone: as they are, weighed by 1 / the model's own pCTR, and by 1 / the true chance of a
click, which again a simulator alone knows. Nothing is trained.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import csv
import gzip
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lt4rec_tf.core.errors import InputError
from lt4rec_tf.data.input.pipeline import files_of
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.experiment.comparison.results import tested_runs
from lt4rec_tf.experiment.evaluation import open_run
from lt4rec_tf.experiment.feed import split_batches
from lt4rec_tf.experiment.trained_models import load_model, model_names
from lt4rec_tf.metrics.bootstrap import Resampled, difference, resampled
from lt4rec_tf.reports.differences import interval_cell
from lt4rec_tf.reports.text_tables import markdown_table
from lt4rec_tf.training.predictions import Predictions, predictor_of

CTR, CVR = "ctr", "cvr"
CONSTANT = "the mean of clicks"


@dataclass(frozen=True)
class Rows:
    """The impressions of a test split.

    Attributes:
        clicked: Whether each was clicked, bool (rows,).
        ratios: The watch ratio of clicks, 0 elsewhere, (rows,).
        truth: Expected watch ratio, had it been clicked, (rows,).
        chances: True chance of a click, (rows,).
        users: Equal for rows of one user, (rows,).
    """

    clicked: np.ndarray
    ratios: np.ndarray
    truth: np.ndarray
    chances: np.ndarray
    users: np.ndarray

    def populations(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Returns population, with what it is measured against -> (its rows, labels of all)."""
        every = np.ones_like(self.clicked)
        return {
            "clicks, watched": (self.clicked, self.ratios),
            "clicks, truth": (self.clicked, self.truth),
            "all, truth": (every, self.truth),
            "no click, truth": (~self.clicked, self.truth),
        }


def main() -> None:
    """Measures all models of a comparison and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comparison", type=Path, required=True, help="folder of the comparison")
    parser.add_argument("--against", default="hard_sharing", help="model of all differences")
    parser.add_argument("--replicates", type=int, default=1000, help="of the bootstrap")
    flags = parser.parse_args()

    scores, rows = predicted(flags.comparison)
    cvr = {line: of_tasks[CVR] for line, of_tasks in scores.items()}
    print(facts(rows))
    for table in tables(cvr, rows, flags.against, flags.replicates):
        print(f"\n{table}")
    print(f"\n{estimates(scores, rows)}")


def predicted(comparison: Path) -> tuple[dict[str, dict[str, np.ndarray]], Rows]:
    """Returns line -> task -> predictions for all test impressions, (seeds, rows), and these.

    Lines without CVR are left out.

    Raises:
        InputError: The logs have no truth, or its rows are not theirs.
    """
    by_line: dict[str, dict[str, list[np.ndarray]]] = {}
    rows: Rows | None = None
    for runs in tested_runs(comparison).values():
        for line, run in runs.items():
            folder, settings, schema, source = open_run(str(run), "")
            names = model_names(settings, schema)  # a line may have another name than its model
            model = line if line in names else names[-1]
            network = load_model(folder, model, settings, schema)
            if CVR not in network.tasks:
                continue
            predictions = predictor_of(network, schema)(split_batches(source, "test"))
            if rows is None:
                rows = rows_of(predictions, source)
            of_line = by_line.setdefault(line, {})
            for task in network.tasks:
                of_line.setdefault(task, []).append(predictions.of(schema.task(task)))
    if rows is None:
        raise InputError(f"{comparison}: found no model with task {CVR}, expected one or more")
    scores = {
        line: {task: np.stack(of_seeds) for task, of_seeds in of_line.items()}
        for line, of_line in by_line.items()
    }
    return scores, rows


def rows_of(predictions: Predictions, source: Source) -> Rows:
    """Returns the test impressions with their truth, in the order of the predictions."""
    truth, chances, clicks = [], [], []
    for log in files_of(source, "test"):
        name = log.name.partition(".")[0]
        truth_file = log.parent.parent / "truth" / f"{name}.csv.gz"
        if not truth_file.exists():
            raise InputError(f"{truth_file}: found none, expected the truth of {log}")
        truth += column(truth_file, "expected_watch_ratio")
        chances += column(truth_file, "click_probability")
        clicks += column(log, "click")

    clicked = predictions.weights[CVR] > 0
    if not np.array_equal(clicked, np.array(clicks) > 0):
        raise InputError(
            f"{source.data_dir}: found {len(clicks)} rows in the files of test and "
            f"{len(clicked)} predictions, expected the same rows in one order"
        )
    ratios, users = predictions.labels[CVR], predictions.users
    return Rows(clicked, ratios, np.array(truth), np.array(chances), users)


def column(file: Path, name: str) -> list[float]:
    """Returns a column of numbers of a gzip CSV file."""
    with gzip.open(file, "rt") as lines:
        return [float(row[name]) for row in csv.DictReader(lines)]


def facts(rows: Rows) -> str:
    """Returns what the test split holds, in words."""
    clicked, truth = rows.clicked, rows.truth
    return (
        f"{len(clicked)} impressions of {len(np.unique(rows.users))} users, "
        f"{clicked.mean():.3f} clicked; mean truth {truth[clicked].mean():.4f} where clicked, "
        f"{truth[~clicked].mean():.4f} where not; watched {rows.ratios[clicked].mean():.4f}"
    )


def tables(
    scores: Mapping[str, np.ndarray], rows: Rows, against: str, replicates: int
) -> Iterator[str]:
    """Yields the tables: errors, their differences to a model, bias, order.

    Args:
        scores: Line -> CVR, (seeds, rows).
        rows: What was predicted.
        against: The line of all differences.
        replicates: Of the bootstrap.
    """
    populations = rows.populations()
    header = ["model", *populations]
    seeds = len(scores[against])
    constant = np.full((seeds, len(rows.clicked)), rows.ratios[rows.clicked].mean())
    errors = {
        name: [_cell(metric_of("mse", line, rows, *of, 1)) for of in populations.values()]
        for name, line in ({**scores, CONSTANT: constant, "the truth": rows.truth[None]}).items()
    }
    yield _table("MSE", header, errors)

    for metric, title in (("mse", "MSE"), ("spearman", "Spearman")):
        cells: dict[str, list[str]] = {}
        for name, line in scores.items():
            if name != against and len(line) == seeds:
                cells[name] = [
                    _difference(metric, line, scores[against], rows, *of, replicates)
                    for of in populations.values()
                ]
        yield _table(f"{title}, to {against}", header, cells)

    bias = {
        name: [mean_error(line, rows, *of, replicates) for of in populations.values()]
        for name, line in scores.items()
    }
    yield _table("mean of prediction - label", header, bias)
    order = {
        name: [_cell(metric_of("spearman", line, rows, *of, 1)) for of in populations.values()]
        for name, line in scores.items()
    }
    yield _table("Spearman", header, order)


def _table(title: str, header: Sequence[str], cells: Mapping[str, Sequence[str]]) -> str:
    lines = [[name, *of_line] for name, of_line in cells.items()]
    return markdown_table([title, *header[1:]], lines)


def _cell(measured: Resampled) -> str:
    return f"{measured.value:.5f}"


def metric_of(
    metric: str,
    scores: np.ndarray,
    rows: Rows,
    of: np.ndarray,
    labels: np.ndarray,
    replicates: int,
) -> Resampled:
    """Measures predictions (seeds, rows) on some rows, resampled."""
    return resampled(
        metric, labels[of], scores[:, of], rows.users[of], replicates=replicates, seed=0
    )


def _difference(
    metric: str,
    scores: np.ndarray,
    base: np.ndarray,
    rows: Rows,
    of: np.ndarray,
    labels: np.ndarray,
    replicates: int,
) -> str:
    measured, other = (
        metric_of(metric, each, rows, of, labels, replicates) for each in (scores, base)
    )
    found = difference(measured, other)
    return interval_cell({"metric": metric, "seeds": len(scores)} | vars(found))


def mean_error(
    scores: np.ndarray, rows: Rows, of: np.ndarray, labels: np.ndarray, replicates: int
) -> str:
    """Returns the mean of prediction - label with its interval, bold where it excludes 0."""
    # Of predictions moved above all labels, the mean absolute error is the mean error, moved.
    moved = 2.0
    measured = metric_of("mae", scores + moved, rows, of, labels, replicates)
    low, high = np.percentile(measured.replicates, [2.5, 97.5]) - moved
    numbers = {"metric": "", "seeds": len(scores), "base": 0.0}
    return interval_cell(numbers | {"difference": measured.value - moved, "low": low, "high": high})


def estimates(scores: Mapping[str, Mapping[str, np.ndarray]], rows: Rows) -> str:
    """Returns what clicks tell of the mean error on all impressions, a line for each joint model.

    The mean of prediction - watched over clicks, each weighed by 1 / the chance of a click, over
    the sum of these weights.
    """
    clicked = rows.clicked
    lines = []
    for line, of_tasks in scores.items():
        if CTR not in of_tasks:
            continue
        errors = (of_tasks[CVR] - rows.ratios)[:, clicked]
        cells = []
        for chance in (np.ones_like(of_tasks[CTR]), of_tasks[CTR], rows.chances[None]):
            weights = np.broadcast_to(1 / chance[:, clicked], errors.shape)
            cells.append(np.average(errors, axis=1, weights=weights).mean())
        cells.append((of_tasks[CVR] - rows.truth).mean())
        lines.append([line, *(f"{cell:+.4f}" for cell in cells)])
    header = [
        "mean error on all",
        "clicks as they are",
        "by 1 / pCTR",
        "by 1 / true chance",
        "truth",
    ]
    return markdown_table(header, lines)


if __name__ == "__main__":
    main()
