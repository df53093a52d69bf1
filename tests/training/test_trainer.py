"""Training of a stage: steps, the best epoch, resumption after a kill."""

import dataclasses
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.core import artifacts
from lt4rec_tf.core.errors import InputError
from lt4rec_tf.core.progress import Progress
from lt4rec_tf.models.losses import LOSSES
from lt4rec_tf.tickets.masks import union
from lt4rec_tf.training import checkpoint
from lt4rec_tf.training.plan import Plan
from lt4rec_tf.training.stage import TrainingError
from tests.support.networks import build_small, load_variables, read_variables
from tests.support.training import (
    STEPS,
    Killed,
    KilledProgress,
    quiet_progress,
    random_masks,
    small_feed,
    small_trainer,
)

pytestmark = pytest.mark.slow(minutes=1)


def wear_random_tickets(network):
    for seed, task in enumerate(network.tasks):
        network.wear(task, random_masks(network, task, seed))


def same_weights(weights, expected):
    assert set(weights) == set(expected)
    for name, value in weights.items():
        assert value.tobytes() == expected[name].tobytes(), name


def without_seconds(result):
    return {name: value for name, value in result.items() if name != "seconds"}


# What a step touches


@pytest.mark.parametrize("optimizer", ["adam", "adagrad"])
@pytest.mark.parametrize("schedule", ["alternate", "both"])
def test_a_weight_cut_for_every_task_never_moves(small_schema, tmp_path, optimizer, schedule):
    network = build_small(small_schema)
    wear_random_tickets(network)
    before = read_variables(network)
    trainer = small_trainer(network, small_schema, optimizer=optimizer, schedule=schedule)
    trainer.fit(tmp_path, "joint", Plan(epochs=3, keep_last=True))
    union_masks = union([network.masks(task) for task in network.tasks])
    for name, mask in union_masks.items():
        kernel, old = network.variables[f"{name}/kernel"].numpy(), before[f"{name}/kernel"]
        assert kernel[~mask].tobytes() == old[~mask].tobytes()
        assert (kernel[mask] != old[mask]).mean() > 0.5
        assert 0 < mask.mean() < 1


class StepsSeen:
    """Weights before each step, as `before_step` sees them, and at the end."""

    def __init__(self, network):
        self.network, self.weights = network, []

    def __call__(self, step):
        assert step == len(self.weights)
        self.weights.append(read_variables(self.network))


@pytest.mark.parametrize("optimizer", ["adam", "adagrad"])
def test_alternating_steps_touch_the_variables_of_their_task_alone(
    small_schema, tmp_path, optimizer
):
    network = build_small(small_schema)
    wear_random_tickets(network)
    seen = StepsSeen(network)
    trainer = small_trainer(network, small_schema, optimizer=optimizer, before_step=seen)
    trainer.fit(tmp_path, "joint", Plan(epochs=2, keep_last=True))
    seen(2 * STEPS)

    for step in range(2 * STEPS):  # STEPS is odd: epochs do not begin with the same task
        task, other = [("ctr", "cvr"), ("cvr", "ctr")][step % 2]
        old, new = seen.weights[step], seen.weights[step + 1]
        for part in ("kernel", "bias"):
            other_head = f"{other}/head/{part}"
            assert new[other_head].tobytes() == old[other_head].tobytes(), step
        assert (new[f"{task}/head/bias"] != old[f"{task}/head/bias"]).all(), step
        assert (new["embedding/table"] != old["embedding/table"]).any(), step
        for name, mask in network.masks(task).items():
            kernel, was = new[f"{name}/kernel"], old[f"{name}/kernel"]
            assert kernel[~mask].tobytes() == was[~mask].tobytes(), step
            assert (kernel[mask] != was[mask]).any(), step


def test_steps_of_one_task_leave_the_other_network_parts_alone(small_schema, tmp_path):
    network = build_small(small_schema, separate_towers=True)
    before = read_variables(network)
    small_trainer(network, small_schema, ["cvr"]).fit(tmp_path, "cvr", Plan(epochs=1))
    for name, value in read_variables(network).items():
        assert np.array_equal(value, before[name]) == name.startswith("ctr/"), name


def test_both_descends_the_weighted_sum_of_eq_2(small_schema, tmp_path):
    # Adagrad's first step from accumulator c moves a weight by -lr g / sqrt(c + g^2 + eps).
    a, b, rate = 0.25, 3.0, 0.1
    network = build_small(small_schema)
    feed = dataclasses.replace(small_feed(small_schema), steps_per_epoch=1)
    one_batch = feed.train(0, 0).take(1)
    feed = dataclasses.replace(feed, train=lambda epoch, skip: one_batch)
    trainer = small_trainer(
        network,
        small_schema,
        schedule="both",
        loss_weights={"ctr": a, "cvr": b},
        optimizer="adagrad",
        learning_rate=rate,
        feed=feed,
    )

    batch = next(iter(one_batch))
    gradients = []
    for task in ("ctr", "cvr"):
        with tf.GradientTape() as tape:
            logit = network.task_models[task](batch["features"])
            loss = LOSSES[small_schema.task(task).loss](
                logit, batch["labels"][task], batch["weights"][task]
            )
        gradients.append(tape.gradient(loss, network.variables, unconnected_gradients="zero"))
    g1, g2 = ({n: tf.convert_to_tensor(g).numpy() for n, g in part.items()} for part in gradients)

    before = read_variables(network)
    trainer.fit(tmp_path, "joint", Plan(epochs=1))

    for name, value in read_variables(network).items():
        summed = a * g1[name].astype(np.float64) + b * g2[name]
        step = rate * summed / np.sqrt(0.1 + summed**2 + 1e-7)
        np.testing.assert_allclose(value, before[name] - step, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("own", [{}, {"embedding_learning_rate": 0.4}])
def test_step_sizes_follow_the_schedule_over_all_passes(small_schema, tmp_path, own):
    rates = []
    network = build_small(small_schema)
    trainer = small_trainer(
        network, small_schema, learning_rate=0.2, learning_rate_decay="linear",
        learning_rate_warmup=4, **own,
    )  # fmt: skip

    def note(losses, rows=None):
        both = trainer._optimizer
        parts = (both.tables, both.others) if own else (both, both)
        rates.append([float(part.learning_rate) for part in parts])

    trainer.progress.step = note
    for stage in ("first", "second"):
        trainer.fit(tmp_path / stage, stage, Plan(epochs=2))
    factors = [min(1, (step + 1) / 4) * (1 - step / (2 * STEPS)) for step in range(2 * STEPS)]
    expected = np.outer(factors * 2, [0.4 if own else 0.2, 0.2])
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_train_loss_is_the_mean_over_the_tasks_batches(small_schema, tmp_path):
    network = build_small(small_schema)
    frozen = small_trainer(network, small_schema, learning_rate=1e-30)
    record = frozen.fit(tmp_path, "joint", Plan(epochs=1))["history"][0]
    losses = {"ctr": [], "cvr": []}
    for i, batch in enumerate(frozen.feed.train(0, 0)):
        task = ("ctr", "cvr")[i % 2]
        loss = LOSSES[small_schema.task(task).loss]
        logit = network.task_models[task](batch["features"])
        losses[task].append(float(loss(logit, batch["labels"][task], batch["weights"][task])))
    for task, values in losses.items():
        assert record["train_loss"][task] == pytest.approx(np.mean(values), rel=1e-6)


# Killed and started again


class Kill:
    """Ends the process before or after the n-th file or folder is put in its place."""

    def __init__(self, monkeypatch, at: int, after: bool) -> None:
        self.left, self.after = at, after
        self.names = []
        for name in ("write_atomically", "write_folder_atomically"):
            self._watch(monkeypatch, name)

    def _watch(self, monkeypatch, function):
        real = getattr(artifacts, function)

        def watched(path, content):
            nested = any(part.endswith(".tmp") for part in Path(path).parts)
            if nested:  # inside a folder that is not in its place yet
                return real(path, content)
            self.names.append(Path(path).name)
            self.left -= 1
            if self.left == 0 and not self.after:
                # As bad as it can be: the old folder is gone, the new one not in its place.
                if Path(path).is_dir():
                    shutil.rmtree(path)
                raise Killed
            real(path, content)
            if self.left == 0:
                raise Killed

        monkeypatch.setattr(artifacts, function, watched)


RESUMED = Plan(epochs=2, checkpoint_steps=2, snapshot_step=3)


OPTIMIZERS = {
    "adam": {"optimizer": "adam"},
    "two": {
        "optimizer": "adagrad",
        "embedding_optimizer": "rowwise_adagrad",
        "learning_rate_decay": "linear",
        "weight_average": 0.9,
    },
}


@pytest.fixture(scope="module", params=OPTIMIZERS)
def two_processes(request, small_schema):
    """Two networks with a trainer each, and what an unbroken stage gives."""
    trainers = []
    for seed in (1, 99):
        network = build_small(small_schema, seed=seed)
        wear_random_tickets(network)
        trainers.append(small_trainer(network, small_schema, **OPTIMIZERS[request.param]))
    return trainers


def start(trainer, folder, plan=RESUMED):
    """What a process does: set the stage's first weights, then fit."""
    values = {
        name: np.random.default_rng(5).normal(scale=0.3, size=v.shape).astype(np.float32)
        for name, v in trainer.network.variables.items()
    }
    load_variables(trainer.network, values)
    return trainer.fit(folder, "joint", plan)


@pytest.fixture(scope="module")
def unbroken(two_processes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    result = start(two_processes[0], folder)
    return result, read_variables(two_processes[0].network), folder


def check_equal_to_unbroken(unbroken, trainer, result, folder):
    expected, weights, unbroken_folder = unbroken
    assert without_seconds(result) == without_seconds(expected)
    same_weights(read_variables(trainer.network), weights)
    saved_result = artifacts.read_json(folder / "history.json")
    assert without_seconds(saved_result) == without_seconds(expected)
    for part in ("weights", "rewind"):
        checkpoint.restore(unbroken_folder / part, trainer.network.variables)
        values = read_variables(trainer.network)
        checkpoint.restore(folder / part, trainer.network.variables)
        same_weights(read_variables(trainer.network), values)


@pytest.mark.parametrize("at", [1, 3, 4, 6, STEPS + 3, 2 * STEPS])
def test_a_stage_killed_in_an_epoch_ends_as_an_unbroken_one(two_processes, unbroken, tmp_path, at):
    first, second = two_processes
    first.progress = KilledProgress(at)
    with pytest.raises(Killed):
        start(first, tmp_path)
    first.progress = quiet_progress()
    check_equal_to_unbroken(unbroken, second, start(second, tmp_path), tmp_path)


@pytest.mark.parametrize("two_processes", ["adam"], indirect=True)
def test_a_stage_killed_at_any_write_ends_as_an_unbroken_one(two_processes, unbroken, tmp_path):
    first, second = two_processes
    seen = set()
    for after in (False, True):
        for at in range(1, 100):
            folder = tmp_path / f"{at}_{after}"
            with pytest.MonkeyPatch.context() as monkeypatch:
                kill = Kill(monkeypatch, at, after)
                try:
                    start(first, folder)
                except Killed:
                    seen.add((kill.names[-1], after))
                else:
                    break  # there are fewer writes
            check_equal_to_unbroken(unbroken, second, start(second, folder), folder)

    for name in ("best", "rewind", "0000_000000002", "0001_000000000", "history.json", "done"):
        assert {(name, False), (name, True)} <= seen


def test_a_stage_killed_twice_ends_as_an_unbroken_one(two_processes, unbroken, tmp_path):
    first, second = two_processes
    for at in (4, 6):
        first.progress = KilledProgress(at)
        with pytest.raises(Killed):
            start(first, tmp_path)
    first.progress = quiet_progress()
    check_equal_to_unbroken(unbroken, second, start(second, tmp_path), tmp_path)


DAMAGES = {
    "variables of no byte": ("variables/variables.data-00000-of-00001", b""),
    "half an index": ("variables/variables.index", b"\x00" * 20),
    "state of no byte": ("state.json", b""),
    "state of another form": ("state.json", b'{"epoch": "1"}'),
    "state with a best epoch that never was": ("state.json", b'{"epoch": 2, "best_epoch": 5}'),
}


@pytest.mark.parametrize("two_processes", ["two"], indirect=True)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_stage_whose_newest_save_is_damaged_goes_on_from_the_one_before(
    two_processes, unbroken, tmp_path, damage
):
    first, second = two_processes
    first.progress = KilledProgress(STEPS + 3)
    with pytest.raises(Killed):
        start(first, tmp_path)
    first.progress = quiet_progress()

    name, content = DAMAGES[damage]
    older, newest = sorted(artifacts.folders(tmp_path / "progress"))
    (newest / name).write_bytes(content)
    out = io.StringIO()
    second.progress = Progress(total_steps=2 * STEPS, batch_size=8, out=out)
    check_equal_to_unbroken(unbroken, second, start(second, tmp_path), tmp_path)
    second.progress = quiet_progress()
    assert f"{newest}" in out.getvalue()
    assert f"going on from the save before, {older.name}" in out.getvalue()


@pytest.mark.parametrize("two_processes", ["two"], indirect=True)
def test_a_stage_without_a_readable_save_is_refused(two_processes, tmp_path):
    first, second = two_processes
    first.progress = KilledProgress(STEPS + 3)
    with pytest.raises(Killed):
        start(first, tmp_path)
    first.progress = quiet_progress()
    for saved in artifacts.folders(tmp_path / "progress"):
        (saved / "state.json").write_bytes(b"{")
    with pytest.raises(InputError, match=r"state\.json: not JSON"):
        start(second, tmp_path)


def test_a_finished_stage_is_not_trained_again(two_processes, unbroken, tmp_path):
    first, second = two_processes
    start(first, tmp_path)
    modified_times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert not (tmp_path / "progress").exists()
    second.progress = KilledProgress(1)
    result = start(second, tmp_path)
    second.progress = quiet_progress()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == modified_times
    assert without_seconds(result) == without_seconds(unbroken[0])
    same_weights(read_variables(second.network), unbroken[1])


def test_one_trainer_serves_many_stages(two_processes, unbroken, tmp_path):
    # Nothing of an earlier stage may be left in the optimiser or in the sums of losses.
    trainer = two_processes[1]
    start(trainer, tmp_path / "first", Plan(epochs=2))
    result = start(trainer, tmp_path / "second")
    check_equal_to_unbroken(unbroken, trainer, result, tmp_path / "second")


# Which epoch is kept


@pytest.fixture(scope="module")
def scored(small_schema):
    """A trainer whose epochs have the scores that it is told, whatever it learns."""

    class Scored:
        def __init__(self):
            self.network = build_small(small_schema)
            self.trainer = small_trainer(self.network, small_schema, before_step=self.keep)
            self.weights = {}

        def keep(self, step):
            self.weights[step] = read_variables(self.network)

        def fit(self, folder, plan, scores, monkeypatch):
            scores = iter(scores)
            monkeypatch.setattr(self.trainer, "_score", lambda metrics, losses: next(scores))
            self.weights = {}
            return self.trainer.fit(folder, "joint", plan)

    return Scored()


@pytest.mark.parametrize(
    ("scores", "best"),
    [([1, 3, 2], 1), ([3, 1, 2], 0), ([1, 2, 3], 2), ([2, 2, 2], 0), ([-5, -4, -9], 1)],
)
def test_the_best_epoch_is_kept(scored, tmp_path, monkeypatch, scores, best):
    result = scored.fit(tmp_path, Plan(epochs=3), scores, monkeypatch)
    assert result["best_epoch"] == best
    assert [record["score"] for record in result["history"]] == scores
    assert result["validation"] == result["history"][best]["validation"]
    assert result["validation_loss"] == result["history"][best]["validation_loss"]
    if best < 2:
        same_weights(read_variables(scored.network), scored.weights[(best + 1) * STEPS])
    best_weights = read_variables(scored.network)
    checkpoint.restore(tmp_path / "weights", scored.network.variables)
    same_weights(read_variables(scored.network), best_weights)


def test_the_last_epoch_is_kept_where_asked(scored, tmp_path, monkeypatch):
    result = scored.fit(tmp_path / "a", Plan(3, keep_last=True), [3, 2, 1], monkeypatch)
    last = read_variables(scored.network)
    assert result["best_epoch"] == 2
    scored.fit(tmp_path / "b", Plan(1), [1], monkeypatch)
    assert not np.array_equal(
        last["ctr/head/bias"], read_variables(scored.network)["ctr/head/bias"]
    )


@pytest.mark.parametrize(
    ("patience", "scores", "epochs"),
    [(1, [3, 2, 9, 9], 2), (2, [3, 2, 1, 9], 3), (2, [3, 2, 4, 1, 0], 5), (0, [3, 2, 1, 0], 4)],
)
def test_patience(scored, tmp_path, monkeypatch, patience, scores, epochs):
    plan = Plan(epochs=len(scores), patience=patience)
    result = scored.fit(tmp_path, plan, scores, monkeypatch)
    assert len(result["history"]) == epochs


@pytest.mark.parametrize(("tasks", "sign"), [(["ctr"], 1), (["cvr"], -1)])
def test_one_task_is_scored_by_its_own_metric(small_schema, tmp_path, tasks, sign):
    trainer = small_trainer(build_small(small_schema), small_schema, tasks)
    (record,) = trainer.fit(tmp_path, "alone", Plan(epochs=1))["history"]
    metric = small_schema.task(tasks[0]).metric
    assert record["score"] == sign * record["validation"][tasks[0]][metric]
    assert list(record["validation"]) == tasks


def test_several_tasks_are_scored_by_eq_2(small_schema, tmp_path):
    weights = {"ctr": 0.5, "cvr": 4.0}
    trainer = small_trainer(build_small(small_schema), small_schema, loss_weights=weights)
    (record,) = trainer.fit(tmp_path, "joint", Plan(epochs=1))["history"]
    losses = record["validation_loss"]
    assert record["score"] == pytest.approx(-(0.5 * losses["ctr"] + 4.0 * losses["cvr"]))
    assert "ctcvr" in record["validation"]


@pytest.mark.parametrize("step", [1, 3, STEPS, STEPS + 2])
def test_the_snapshot_holds_the_weights_of_its_step(scored, tmp_path, monkeypatch, step):
    scored.fit(tmp_path, Plan(epochs=2, snapshot_step=step), [1, 2], monkeypatch)
    checkpoint.restore(tmp_path / "rewind", scored.network.variables)
    same_weights(read_variables(scored.network), scored.weights[step])


def test_patience_waits_for_the_snapshot(scored, tmp_path, monkeypatch):
    plan = Plan(epochs=5, patience=1, snapshot_step=2 * STEPS + 2)
    result = scored.fit(tmp_path, plan, [5, 4, 3, 2, 1], monkeypatch)
    assert (len(result["history"]), result["best_epoch"]) == (3, 0)
    checkpoint.restore(tmp_path / "rewind", scored.network.variables)
    same_weights(read_variables(scored.network), scored.weights[2 * STEPS + 2])


def test_no_snapshot_is_taken_unasked(scored, tmp_path, monkeypatch):
    scored.fit(tmp_path, Plan(epochs=1), [1], monkeypatch)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["done", "history.json", "weights"]


# When it cannot go on, and what it tells


@pytest.mark.parametrize("steps", [1, STEPS])
def test_a_loss_that_is_not_finite_names_stage_and_task(small_schema, tmp_path, steps):
    # With one step the loss is still finite, but the weights after it no longer are.
    network = build_small(small_schema)
    feed = small_feed(small_schema)
    first_steps = feed.train(0, 0).take(steps)
    feed = dataclasses.replace(feed, steps_per_epoch=steps, train=lambda epoch, skip: first_steps)
    trainer = small_trainer(network, small_schema, ["ctr"], learning_rate=1e30, feed=feed)
    with pytest.raises(TrainingError, match=r"tickets/ctr/level_2.* task ctr .*--learning_rate"):
        trainer.fit(tmp_path, "tickets/ctr/level_2", Plan(epochs=3))
    assert not artifacts.is_done(tmp_path)
    with pytest.raises(TrainingError, match="level_2"):  # and again when started again
        trainer.fit(tmp_path, "tickets/ctr/level_2", Plan(epochs=3))


@pytest.mark.parametrize("schedule", ["alternate", "both"])
def test_steps_are_traced_once(small_schema, tmp_path, monkeypatch, schedule):
    traced = []
    for name, loss in list(LOSSES.items()):

        def counted(*arguments, name=name, loss=loss):
            if tf.inside_function():
                traced.append(name)
            return loss(*arguments)

        monkeypatch.setitem(LOSSES, name, counted)
    network = build_small(small_schema)
    trainer = small_trainer(network, small_schema, schedule=schedule)
    for stage in ("a", "b"):
        wear_random_tickets(network)
        trainer.fit(tmp_path / stage, stage, Plan(epochs=2))  # batches of 8 and of 4 rows
    assert sorted(traced) == ["cross_entropy", "mse"]


def test_history_is_what_was_logged(small_schema, tmp_path):
    logged = []
    trainer = small_trainer(
        build_small(small_schema),
        small_schema,
        log=lambda stage, step, values: logged.append((stage, step, values)),
    )
    result = trainer.fit(tmp_path, "joint", Plan(epochs=2))

    assert {stage for stage, _, _ in logged} == {"joint"}
    validations = {step: values for _, step, values in logged if "by_stage/ctr/auc" in values}
    assert list(validations) == [STEPS, 2 * STEPS]
    for record, values in zip(result["history"], validations.values(), strict=True):
        assert values["by_stage/ctr/auc"] == record["validation"]["ctr"]["auc"]
        assert values["other_metrics/ctr/ece"] == record["validation"]["ctr"]["ece"]
        assert values["validation_loss/cvr"] == record["validation_loss"]["cvr"]

    assert json.loads((tmp_path / "history.json").read_text()) == result
    assert [record["epoch"] for record in result["history"]] == [0, 1]
    assert result["seconds"] > 0


def test_progress_counts_every_step_once(small_schema, tmp_path):
    class Counted(Progress):
        rows = 0

        def step(self, losses, examples=None):
            self.rows += examples
            super().step(losses, examples)

    progress = Counted(total_steps=2 * STEPS, batch_size=8, out=io.StringIO())
    trainer = small_trainer(build_small(small_schema), small_schema, progress=progress)
    trainer.fit(tmp_path, "joint", Plan(epochs=2))
    assert progress.rows == 2 * 36
    assert progress._passed == 2 * STEPS
    again = quiet_progress()
    trainer.progress = again
    trainer.fit(tmp_path, "joint", Plan(epochs=2))
    assert again._passed == 2 * STEPS
