"""One model of benchmarks/training.py, in a process of its own.

    python benchmarks/training_models.py MODEL --rows=10000

Prints "ready", then, for every line on standard input, trains some steps and prints their seconds.
Every model sees the same ids and labels, from memory. Peers are run as their documentation says:
DeepCTR by Keras's `fit`, torch-rechub by its `MTLTrainer`; all with Adam.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()  # with tf_keras: DeepCTR knows no other Keras

from collections.abc import Callable, Mapping

import numpy as np
from feeds import (
    CLICK_SHARE,
    DIMENSION,
    FIELDS,
    TASKS,
    UNITS,
    random_ids,
    random_labels,
    wide_schema,
)
from turns import answer

from lt4rec_tf.core.command import make_deterministic
from lt4rec_tf.tickets.masks import Masks

BATCHES = 8  # different ones, over and over
TOWER = (64,)  # of a task, in models whose 512-256-128 is shared
EXPERTS = 3  # DeepCTR's default
Rounds = Callable[[int], None]  # trains so many steps
Shapes = Mapping[str, tuple[int, ...]]  # by kernel


def lt4rec_tf(rows: int, batch: int, precision: str, density: float) -> Rounds:
    """Builds sparse sharing: two masked towers on one set of kernels."""
    return sparse_sharing(weight_masks, rows, batch, precision, density)


def lt4rec_tf_dense(rows: int, batch: int, precision: str, density: float) -> Rounds:
    """Builds sparse sharing with nothing cut: each task computes the whole tower."""
    return sparse_sharing(weight_masks, rows, batch, precision, density=1.0)


def lt4rec_tf_neurons(rows: int, batch: int, precision: str, density: float) -> Rounds:
    """Builds sparse sharing with that share of each layer's neurons, of each task others."""
    return sparse_sharing(neuron_masks, rows, batch, precision, density)


def weight_masks(shapes: Shapes, density: float, rng: np.random.Generator) -> Masks:
    """Draws the single weights of each kernel that are kept."""
    return {name: rng.random(shape) < density for name, shape in shapes.items()}


def neuron_masks(shapes: Shapes, density: float, rng: np.random.Generator) -> Masks:
    """Draws the neurons of each layer that are kept; all inputs of the first are."""
    masks, below = {}, np.ones(next(iter(shapes.values()))[0], bool)
    for name, (_, units) in shapes.items():
        alive = rng.permutation(units) < density * units
        masks[name], below = np.outer(below, alive), alive
    return masks


def sparse_sharing(
    draw: Callable[[Shapes, float, np.random.Generator], Masks],
    rows: int,
    batch: int,
    precision: str,
    density: float,
) -> Rounds:
    """Builds two towers on one set of kernels, with a drawn ticket each."""
    from networks import joint_step, random_batches, wide_network

    from lt4rec_tf.training.precision import computing_in

    make_deterministic()  # as `train` does
    schema = wide_schema(rows)
    network = wide_network(schema)
    rng = np.random.default_rng(0)
    for task in TASKS:
        network.wear(task, draw(network.kernel_shapes(task), density, rng))
    step = joint_step(network, schema)
    batches = random_batches(schema, rows, batch, BATCHES)

    def train(steps: int) -> None:
        with computing_in(precision):
            for index in range(steps):
                losses = step(batches[index % BATCHES])
        _ = [float(loss) for loss in losses.values()]

    return train


def products(rows: int, batch: int, precision: str, density: float) -> Rounds:
    """Builds a step's matrix products alone, forward and backward: the machine's limit."""
    import tensorflow as tf

    width = FIELDS**2 + FIELDS * DIMENSION
    dtype = tf.as_dtype(precision)
    clicked = int(CLICK_SHARE * batch)  # the rows that CVR's tower is computed for
    factors = []
    for examples in (batch, clicked):
        for inputs, units in zip((width, *UNITS[:-1]), UNITS, strict=True):
            shapes = ((examples, inputs), (examples, units), (inputs, units))
            factors.append([tf.cast(tf.random.normal(shape), dtype) for shape in shapes])

    @tf.function
    def step() -> list[tf.Tensor]:
        outputs = []
        for x, g, kernel in factors:
            outputs += [
                tf.matmul(x, kernel),
                tf.matmul(g, kernel, transpose_b=True),
                tf.matmul(x, g, transpose_a=True),
            ]
        return outputs

    def train(steps: int) -> None:
        for _ in range(steps):
            outputs = step()
        _ = float(outputs[-1][0, 0])

    return train


def deepctr_shared_bottom(rows: int, batch: int, precision: str, density: float) -> Rounds:
    """Builds DeepCTR's SharedBottom: one 512-256-128, a tower of 64 per task, no cross layer."""
    from deepctr.models import SharedBottom

    return deepctr(
        lambda columns, **tasks: SharedBottom(
            columns, bottom_dnn_hidden_units=UNITS, tower_dnn_hidden_units=TOWER, **tasks
        ),
        rows,
        batch,
    )


def deepctr_mmoe(rows: int, batch: int, precision: str, density: float) -> Rounds:
    """Builds DeepCTR's MMOE: three experts of 512-256-128, a tower of 64 per task."""
    from deepctr.models import MMOE

    return deepctr(
        lambda columns, **tasks: MMOE(
            columns,
            num_experts=EXPERTS,
            expert_dnn_hidden_units=UNITS,
            tower_dnn_hidden_units=TOWER,
            **tasks,
        ),
        rows,
        batch,
    )


def deepctr(build: Callable, rows: int, batch: int) -> Rounds:
    """Builds a model of DeepCTR's, trained by Keras's own loop."""
    import tensorflow as tf
    from deepctr.feature_column import SparseFeat

    names = [f"C{index}" for index in range(FIELDS)]
    columns = [SparseFeat(name, rows, DIMENSION) for name in names]
    model = build(columns, task_types=("binary", "regression"), task_names=TASKS)
    model.compile("adam", loss=["binary_crossentropy", "mse"])

    ids = np.concatenate([random_ids(rows, batch, seed) for seed in range(BATCHES)])
    labels = [random_labels(batch, seed) for seed in range(BATCHES)]
    clicks, ratios = (np.concatenate(kind) for kind in zip(*labels, strict=True))
    inputs = {name: ids[:, i].astype(np.int32) for i, name in enumerate(names)}
    outputs = dict(zip(TASKS, (clicks, ratios), strict=True))
    data = tf.data.Dataset.from_tensor_slices((inputs, outputs)).batch(batch).cache().repeat()
    data = data.prefetch(2)

    def train(steps: int) -> None:
        model.fit(data, steps_per_epoch=steps, verbose=0)

    return train


def rechub_mmoe(rows: int, batch: int, precision: str, density: float) -> Rounds:
    """Builds torch-rechub's MMOE: three experts of 512-256-128, a tower of 64 per task."""
    import torch
    from torch_rechub.basic.features import SparseFeature
    from torch_rechub.models.multi_task import MMOE
    from torch_rechub.trainers import MTLTrainer

    torch.manual_seed(1)
    names = [f"C{index}" for index in range(FIELDS)]
    kinds = ["classification", "regression"]
    model = MMOE(
        [SparseFeature(name, vocab_size=rows, embed_dim=DIMENSION) for name in names],
        kinds,
        EXPERTS,
        expert_params={"dims": list(UNITS)},
        tower_params_list=[{"dims": list(TOWER)} for _ in TASKS],
    )
    trainer = MTLTrainer(model, kinds, optimizer_params={"lr": 1e-3})
    batches = []
    for seed in range(BATCHES):
        ids = torch.from_numpy(random_ids(rows, batch, seed))
        labels = torch.from_numpy(np.stack(random_labels(batch, seed), axis=1))
        batches.append(({name: ids[:, i] for i, name in enumerate(names)}, labels))

    def train(steps: int) -> None:
        trainer.train_one_epoch([batches[index % BATCHES] for index in range(steps)])

    return train


MODELS = {
    "lt4rec_tf": lt4rec_tf,
    "lt4rec_tf_dense": lt4rec_tf_dense,
    "lt4rec_tf_neurons": lt4rec_tf_neurons,
    "products": products,
    "deepctr_shared_bottom": deepctr_shared_bottom,
    "deepctr_mmoe": deepctr_mmoe,
    "rechub_mmoe": rechub_mmoe,
}


def main() -> None:
    """Builds the model, warms it up, trains once per line of standard input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--rows", type=int, required=True, help="embedding rows of a field")
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--density", type=float, default=0.2, help="lt4rec_tf: of the masks")
    flags = parser.parse_args()

    def build() -> Rounds:
        return MODELS[flags.model](flags.rows, flags.batch, flags.precision, flags.density)

    # Traces, and touches the rows once.
    answer(build, warm_up=BATCHES, steps=flags.steps)


if __name__ == "__main__":
    main()
