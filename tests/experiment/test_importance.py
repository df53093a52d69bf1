"""Permutation importance of features, by value."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import mean_squared_error, roc_auc_score

from lt4rec_tf.data.input.in_memory import draw
from lt4rec_tf.experiment import importance
from lt4rec_tf.experiment.feed import split_batches
from lt4rec_tf.reports.importance import importance_tables
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.training.predictions import Predictions
from tests.support.feeds import good_row, line, opened, schema, write_lines
from tests.support.schemas import SMALL_SCHEMA, WATCHED

ROWS = 30


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("importance")
    rows = [line(good_row(number)) for number in range(ROWS)]
    write_lines(folder / "part_0.csv", rows)
    return opened(schema(folder), folder)[0]


def predict(batches):
    """A network that reads the number for CTR and number and tags for CVR."""
    parts = list(batches)

    def column(*path):
        found = []
        for part in parts:
            for key in path:
                part = part[key]
            found.append(part.numpy())
        return np.concatenate(found)

    number = column("features", "number").astype(np.float32) / ROWS
    tags = column("features", "tags").sum(axis=1).astype(np.float32) / 100
    tasks = ("ctr", "cvr")
    return Predictions(
        logits={"ctr": np.sin(9 * number), "cvr": number - tags},
        labels={task: column("labels", task) for task in tasks},
        weights={task: column("weights", task) for task in tasks},
        users=column("user"),
    )


def test_a_drop_is_that_of_the_metric_with_one_column_permuted(source):
    made = source.schema
    rows, count = draw(split_batches(source, "train"), 1000, 0)
    assert len(rows) == count == ROWS
    found = importance._measured(made, list(made.tasks), rows, predict)
    names = [feature.name for feature in made.features]

    (whole,) = rows.batches(ROWS)
    of_click, ratio = whole["labels"]["ctr"].numpy(), whole["labels"]["cvr"].numpy()
    clicked = whole["weights"]["cvr"].numpy() > 0
    number = whole["features"]["number"].numpy().astype(np.float32) / ROWS
    tags = whole["features"]["tags"].numpy().sum(axis=1).astype(np.float32) / 100

    def error(number, tags):
        predicted = 1 / (1 + np.exp(-(number - tags).astype(float)))
        return mean_squared_error(ratio[clicked], predicted[clicked])

    by_task = {
        task: {entry["feature"]: entry for entry in found[task]["features"]} for task in found
    }
    assert found["ctr"]["value"] == pytest.approx(roc_auc_score(of_click, np.sin(9 * number)))
    assert found["cvr"]["value"] == pytest.approx(error(number, tags), rel=1e-5)
    for repeat in range(importance.REPEATS):
        of_number, of_tags = (
            np.random.default_rng([0, names.index(name), repeat]).permutation(ROWS)
            for name in ("number", "tags")
        )
        drop = found["ctr"]["value"] - roc_auc_score(of_click, np.sin(9 * number[of_number]))
        assert by_task["ctr"]["number"]["drops"][repeat] == pytest.approx(drop)
        rise = error(number, tags[of_tags]) - found["cvr"]["value"]
        assert by_task["cvr"]["tags"]["drops"][repeat] == pytest.approx(rise, rel=1e-4, abs=1e-7)

    # What no prediction reads loses nothing, exactly; features stand by falling mean.
    assert by_task["ctr"]["tags"]["drops"] == [0.0] * importance.REPEATS
    assert by_task["cvr"]["video"]["mean"] == by_task["cvr"]["video"]["sd"] == 0.0
    for entry in found.values():
        means = [feature["mean"] for feature in entry["features"]]
        assert means == sorted(means, reverse=True)
    tags_entry = by_task["cvr"]["tags"]
    assert tags_entry["mean"] == pytest.approx(np.mean(tags_entry["drops"]))
    assert tags_entry["sd"] == pytest.approx(np.std(tags_entry["drops"], ddof=1))


ENTRY = {
    "row": "s_weight",
    "metric": "auc",
    "direction": "max",
    "value": 0.75,
    "features": [
        {"feature": "video", "mean": 0.125, "sd": 0.0625, "drops": []},
        {"feature": "hour", "mean": -0.001, "sd": 0.002, "drops": []},
    ],
}
FOUND = {"split": "test", "rows": 100, "rows_of_split": 2500, "repeats": 5, "tasks": {"ctr": ENTRY}}


def test_tables_say_which_rows_were_measured_and_by_how_much():
    what, table = importance_tables(FOUND)
    assert "on test, over 100 of 2,500 rows, a sample" in what
    assert "5 permutations" in what
    title, body = table.split("\n\n")
    assert title == "CTR AUC of s_weight: 0.75000"
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in body.splitlines()]
    assert cells[0] == ["feature", "CTR AUC worse by", "sd"]
    assert cells[2:] == [["video", "0.12500", "0.06250"], ["hour", "-0.00100", "0.00200"]]
    assert "over all 100 rows" in importance_tables({**FOUND, "rows_of_split": 100})[0]


def test_single_task_models_are_measured_each_with_its_task(source, tmp_path):
    made = source.schema

    @dataclasses.dataclass
    class Settings:
        models: tuple[str, ...]

    def tasks_of(*models):
        found = importance._tasks_by_model(Settings(models), made, tmp_path)
        return {model: [task.name for task in tasks] for model, tasks in found.items()}

    assert tasks_of("base", "s_weight") == {"s_weight": ["ctr", "cvr"]}
    assert tasks_of("base") == {"base_ctr": ["ctr"], "base_cvr": ["cvr"]}


def test_lists_of_the_same_events_move_together(tmp_path):
    path = tmp_path / "watched.toml"
    path.write_text(SMALL_SCHEMA + WATCHED, encoding="utf-8")
    together = importance.moved_together(load_schema(path))
    assert together == [["user"], ["video"], ["tags"], ["source"], ["age"], ["watched", "ago"]]
