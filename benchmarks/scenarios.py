"""Quality by scenario: a model each, one model over all rows, one network with a task a scenario.

    python benchmarks/scenarios.py
    python benchmarks/scenarios.py --kuairand=DIR

Scenarios are the networks of the simulated feed (configs/simulated_scenarios.cfg), or how active a
user of the KuaiRand feedback sample is. Three comparisons (configs/compare/many_tasks_models.toml):
of a CTR and a CVR task for each scenario; the same with each scenario's losses weighing as its rows
are many; and of one CTR and one CVR task over all rows, whose networks are then measured on the
test rows of each scenario. In all the scenario's column is a feature. All models take five passes
with tables rewound after each and the same step size; nothing is tuned.

Prints a line for each model and a line for each task. Goes on where it was stopped.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from many_tasks_results import (
    BASE,
    Measured,
    cost_of,
    gains_over,
    measured,
    quality_cells,
    task_table,
)

from lt4rec_tf import compare
from lt4rec_tf.core import artifacts
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.experiment.comparison.results import tested_runs
from lt4rec_tf.experiment.evaluation import open_run
from lt4rec_tf.experiment.feed import split_batches
from lt4rec_tf.experiment.paths import AUDIT, REPORT, RESULTS
from lt4rec_tf.experiment.trained_models import load_model
from lt4rec_tf.reports.text_tables import ABSENT, markdown_table
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import Filter, Schema
from lt4rec_tf.schema.writer import to_toml
from lt4rec_tf.training.evaluation import measure
from lt4rec_tf.training.predictions import predictor_of

MODELS = (BASE, "shared_bottom", "hard_sharing", "s_joint")
TASKS = ("ctr", "cvr")
JOINT = (BASE, "shared_bottom", "s_joint")  # whose losses are weighed by rows as well
BY_ROWS = "by rows: "  # before the names of these
OVER_ALL = "over all rows: "  # before the names of models that know no scenario
SINGLE = "single tasks"
SIMULATED = Path("configs/schemas/simulated_scenarios.toml")
KUAIRAND = Path("configs/schemas/kuairand_feedback.toml")
# How active a user is: the two commonest kinds, and all others.
ACTIVE = {
    "full": Filter("user_active_degree", "==", ("full_active",)),
    "high": Filter("user_active_degree", "==", ("high_active",)),
    "less": Filter("user_active_degree", "not_in", ("full_active", "high_active")),
}


def main() -> None:
    """Trains all models, measures them by scenario and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kuairand", help="folder of the KuaiRand sample, in place of the feed")
    parser.add_argument("--rows", type=int, default=120_000, help="impressions of the feed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--data_dir", default="data/simulated_feed", help="of the feed")
    parser.add_argument("--output_dir", default="runs", help="folder of the comparisons")
    flags, more = parser.parse_known_args()

    output = Path(flags.output_dir)
    if flags.kuairand:
        name, schema = "scenarios_kuairand", output / "kuairand_scenarios.toml"
        output.mkdir(parents=True, exist_ok=True)
        text = to_toml(with_scenarios(load_schema(KUAIRAND), ACTIVE))
        artifacts.write_atomically(schema, text.encode())
        logs = ["--flagfile=configs/kuairand_feedback.cfg", f"--data_dir={flags.kuairand}"]
        logs += ["--epochs=5", "--search_epochs=1", "--rewind_tables=1"]
    else:
        name, schema = f"scenarios_{flags.rows}", SIMULATED
        logs = ["--flagfile=configs/simulated_scenarios.cfg", f"--data_dir={flags.data_dir}"]
        logs += [f"--simulate_rows={flags.rows}"]

    common = [
        *logs,
        f"--schema={schema}",
        "--models_file=configs/compare/many_tasks_models.toml",
        f"--seeds={','.join(map(str, flags.seeds))}",
        "--against=s_joint",
        "--reading=memory",
        "--checkpoint_steps=0",
        *more,
    ]
    places = {what: output / f"{name}_{what}" for what in ("tasks", "by_rows", "all_rows")}
    by_scenario = [task.name for task in load_schema(schema).tasks if task.where]
    report = compared(places["tasks"], by_scenario, MODELS, common)
    models = measured(report)
    weights = weights_by_rows(places["tasks"])
    report = compared(places["by_rows"], by_scenario, JOINT, common, weights)
    # A single task has no weight beside others': its models are those of before.
    models |= {f"{BY_ROWS}{name}": of for name, of in measured(report).items() if name != BASE}
    report = compared(places["all_rows"], TASKS, MODELS, common)
    models |= measured_over_all(report, places["all_rows"], places["tasks"], models[BASE])
    print(f"\n{model_table(models)}\n\n{task_table(models)}")


def compared(
    folder: Path,
    tasks: Sequence[str],
    models: Sequence[str],
    common: Sequence[str],
    weights: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Compares models, and returns the report as results.json holds it.

    Args:
        folder: Of the comparison.
        tasks: Of all models.
        models: Names in the file of models.
        common: Flags.
        weights: Task -> weight of its loss, three times as much for CVR; None: 1 each.
    """
    loss_weights = []
    for task in tasks:
        weight = (weights or {}).get(task, 1.0) * (3 if task.startswith("cvr") else 1)
        if weight != 1:
            loss_weights.append(f"{task}={weight:.4g}")
    compare.main(
        [
            "compare",
            *common,
            f"--tasks={','.join(tasks)}",
            f"--loss_weights={','.join(loss_weights)}",
            f"--only={','.join(models)}",
            f"--run_dir={folder}",
        ]
    )
    return artifacts.read_json(folder / REPORT / RESULTS)


def weights_by_rows(comparison: Path) -> dict[str, float]:
    """Returns the weight of each task's loss, 1 on average, as its scenario has rows in train.

    Args:
        comparison: Its folder, whose CTR tasks are over all rows of their scenarios.
    """
    counts = artifacts.read_json(comparison / AUDIT)["splits"]["train"]["tasks"]
    rows = {task: counts[f"ctr_{task.partition('_')[2]}"]["rows"] for task in counts}
    mean = np.mean([*rows.values()])
    return {task: float(count / mean) for task, count in rows.items()}


def with_scenarios(schema: Schema, scenarios: Mapping[str, Filter]) -> Schema:
    """Returns a schema with CTR, CVR, and both for each scenario: ctr_<scenario>."""
    tasks = [schema.task(name) for name in TASKS]
    of_scenarios = [
        dataclasses.replace(task, name=f"{task.name}_{name}", where=(condition,))
        for name, condition in scenarios.items()
        for task in tasks
    ]
    return dataclasses.replace(schema.with_tasks(TASKS), tasks=(*tasks, *of_scenarios))


def measured_over_all(
    report: Mapping[str, Any], over_all: Path, by_scenario: Path, base: Measured
) -> dict[str, Measured]:
    """Measures each model over all rows on the test rows of every scenario.

    Args:
        report: Of the comparison of CTR and CVR over all rows.
        over_all: Its folder.
        by_scenario: That of the comparison of scenarios, whose logs say which rows are of them.
        base: Its single-task models.
    """
    runs_of_scenarios, runs = tested_runs(by_scenario), tested_runs(over_all)
    values: dict[str, dict[str, list[float]]] = {}
    for seed in sorted(runs_of_scenarios.keys() & runs.keys()):
        _, _, _, source = open_run(str(next(iter(runs_of_scenarios[seed].values()))), "")
        for line, folder in runs[seed].items():
            metrics = metrics_by_scenario(folder, line, source)
            of_model = values.setdefault(model_of(line), {})
            for task in base.tasks:
                if task["name"] in metrics:
                    value = metrics[task["name"]][task["metric"]]
                    of_model.setdefault(task["name"], []).append(value)

    lines_of: dict[str, list[Mapping[str, Any]]] = {}
    for line in report["rows"]:
        lines_of.setdefault(model_of(line["row"]), []).append(line)

    models = {}
    for model, lines in lines_of.items():
        arrays = {task["name"]: np.array(values[model][task["name"]]) for task in base.tasks}
        seconds = [np.mean([run["seconds"] for run in line["runs"]]) for line in lines]
        gains = gains_over(base.tasks, arrays, base.values)
        models[f"{OVER_ALL}{SINGLE if model == BASE else model}"] = Measured(
            base.tasks, arrays, gains, cost_of(lines), float(np.sum(seconds))
        )
    return models


def model_of(line: str) -> str:
    """Returns the model of a comparison's line: those of single tasks are one model."""
    return BASE if line.startswith(f"{BASE}_") else line


def metrics_by_scenario(run: Path, line: str, source: Source) -> dict[str, Mapping[str, float]]:
    """Measures a network over all rows on the test rows of each scenario.

    Args:
        run: Its folder.
        line: Its model.
        source: Logs whose schema has the tasks of the scenarios.

    Returns:
        Task of a scenario -> metric -> value, of the tasks that the network has.
    """
    folder, settings, schema, _ = open_run(str(run), "")
    network = load_model(folder, line, settings, schema)
    predict = predictor_of(network, schema)

    metrics = {}
    names = [task.name for task in source.schema.tasks]
    for scenario in dict.fromkeys(name.partition("_")[2] for name in names):
        predictions = predict(renamed(source, network.tasks, scenario))
        for task, values in measure(predictions, schema, network.tasks).items():
            metrics[f"{task}_{scenario}"] = values
    return metrics


def renamed(
    source: Source, tasks: Sequence[str], scenario: str, split: str = "test"
) -> Iterator[dict[str, Any]]:
    """Yields the batches of a split, labels and weights of one scenario under the tasks' names."""
    for batch in split_batches(source, split):
        of_scenario = {
            kind: {task: batch[kind][f"{task}_{scenario}"] for task in tasks}
            for kind in ("labels", "weights")
        }
        yield batch | of_scenario


def model_table(models: Mapping[str, Measured]) -> str:
    """Returns a line for each model: its gains over a model for each task and scenario, its cost.

    Args:
        models: Model -> what was measured, for the tasks of all scenarios.
    """
    header = [
        "model", "seeds", "mean gain, %", "AUC, CTR tasks", "CVR MSE, %", "trained",
        "multiply-adds", "tables, bytes", "training, s",
    ]  # fmt: skip
    lines = []
    for name, model in models.items():
        quality = [ABSENT] * 3 if name == BASE else quality_cells(model, models[BASE])
        names = ("trained_parameters", "multiply_adds", "table_bytes")
        costs = [f"{round(model.cost[key]):,}" for key in names]
        title = SINGLE if name == BASE else name
        lines.append([title, str(len(model.gains)), *quality, *costs, f"{model.seconds:,.0f}"])
    return markdown_table(header, lines)


if __name__ == "__main__":
    main()
