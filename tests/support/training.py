"""A feed held in memory and what a trainer and the stages need, for the small schema."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import tensorflow as tf

from lt4rec_tf.config.parse import parse
from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core.progress import Progress
from lt4rec_tf.experiment.initial_weights import keep_start
from lt4rec_tf.experiment.run import Run, network_in
from lt4rec_tf.experiment.trained_models import load_model
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.training.plan import Callbacks, Feed, Objective, Optimization
from lt4rec_tf.training.predictions import make_predictor
from lt4rec_tf.training.trainer import Trainer
from tests.support.networks import small_batch, watched_batch

ROWS, BATCH = 36, 8
STEPS = 5  # of an epoch; the last batch has 4 rows


class Killed(Exception):
    """Stands for a process that ends here."""


def quiet_progress() -> Progress:
    return Progress(total_steps=100, batch_size=BATCH, out=io.StringIO(), interval_seconds=1e9)


class KilledProgress(Progress):
    """Ends the process when so many steps were taken."""

    def __init__(self, at: int) -> None:
        super().__init__(total_steps=100, batch_size=BATCH, out=io.StringIO(), interval_seconds=1e9)
        self.remaining_steps = at

    def step(self, losses, examples=None) -> None:
        self.remaining_steps -= 1
        if self.remaining_steps == 0:
            raise Killed


def rows_of_tasks(schema, rows: int, seed: int) -> dict:
    """`small_batch` with labels for any tasks on clicks or watch ratios, lists if there are any."""
    watched = any(feature.name == "watched" for feature in schema.features)
    batch = (watched_batch if watched else small_batch)(rows, seed)
    task_by_label = {"click": "ctr", "watch_ratio": "cvr"}
    for kind in ("labels", "weights"):
        batch[kind] = {task.name: batch[kind][task_by_label[task.label]] for task in schema.tasks}
    return batch


def small_feed(schema, seed: int = 0) -> Feed:
    """Each epoch has the same rows in an order of its own."""
    rows = rows_of_tasks(schema, ROWS, seed)

    def train(epoch: int, skip: int) -> tf.data.Dataset:
        order = np.random.default_rng(epoch).permutation(ROWS)
        shuffled = tf.nest.map_structure(lambda column: tf.gather(column, order), rows)
        return tf.data.Dataset.from_tensor_slices(shuffled).batch(BATCH).skip(skip)

    validation = rows_of_tasks(schema, 30, seed + 1)
    return Feed(
        train=train,
        validation=lambda: tf.data.Dataset.from_tensor_slices(validation).batch(16),
        steps_per_epoch=STEPS,
    )


def small_trainer(network: RankingNetwork, schema, tasks=None, **changes) -> Trainer:
    """A trainer with the fields of its settings that are given by name, the others as usual."""
    feed = changes.pop("feed", None) or small_feed(schema)

    def changed(kind: type, **usual):
        names = [field.name for field in dataclasses.fields(kind) if field.name in changes]
        return kind(**(usual | {name: changes.pop(name) for name in names}))

    objective = changed(
        Objective,
        tasks=tuple(tasks or network.tasks),
        schedule="alternate",
        loss_weights={task.name: 1.0 for task in schema.tasks},
    )
    optimization = changed(Optimization, optimizer="adam", learning_rate=0.01)
    callbacks = changed(Callbacks, progress=quiet_progress(), log=lambda stage, step, values: None)
    assert not changes, f"no settings of a trainer: {', '.join(changes)}"
    return Trainer(network, schema, objective, optimization, feed, callbacks)


def random_masks(network: RankingNetwork, task: str, seed: int, density: float = 0.5) -> dict:
    rng = np.random.default_rng(seed)
    return {
        name: rng.random(tuple(kernel.shape)) < density
        for name, kernel in network.kernels(task).items()
    }


def neuron_masks(network: RankingNetwork, task: str, seed: int, density: float = 0.5) -> dict:
    """Masks that cut whole neurons, of every layer and of the first one's inputs."""
    rng = np.random.default_rng(seed)
    shapes = network.kernel_shapes(task)
    widths = [next(iter(shapes.values()))[0], *(units for _, units in shapes.values())]
    alive = [rng.permutation(width) < max(1, density * width) for width in widths]
    return {name: np.outer(alive[depth], alive[depth + 1]) for depth, name in enumerate(shapes)}


def small_settings(*flags: str, schema: Path | str = "small.toml") -> Settings:
    small = [
        "--epochs=1",
        "--search_epochs=1",
        "--embedding_dim=4",
        "--hidden_units=8,4",
        "--batch_size=8",
        "--learning_rate=0.01",
    ]
    argv = ["train", f"--schema={schema}", "--data_dir=logs", *small, *flags]
    return parse(argv, "")[0]


def begin_run(
    settings,
    schema,
    folder: Path,
    progress: Progress | None = None,
    *,
    searches: Path | None = None,
):
    """A run on `small_feed` with its theta_0 kept, and its shared network."""
    run = Run(
        settings,
        schema,
        folder,
        searches or folder,
        small_feed(schema),
        progress or quiet_progress(),
        lambda stage, step, values: None,
    )
    keep_start(run)
    return run, network_in(run, "s_weight")


def begin_model(own_flags, schema, folder: Path, *flags, progress: Progress | None = None) -> Run:
    """A run as `begin_run` makes it, with a test file's own flags and more."""
    return begin_run(small_settings(*own_flags, *flags), schema, folder, progress)[0]


def model_logits(run: Run, model: str) -> dict[str, np.ndarray]:
    """A trained model's logits on validation, read back from its folder, by task."""
    network = load_model(run.folder, model, run.settings, run.schema)
    return make_predictor(network, network.tasks)(run.feed.validation()).logits


def assert_same_logits(one: Run, other: Run, model: str) -> None:
    """Checks that a model ended with the same bits in two runs."""
    found = model_logits(other, model)
    for task, values in model_logits(one, model).items():
        assert values.tobytes() == found[task].tobytes(), task
