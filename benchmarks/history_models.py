"""One model of benchmarks/history.py, in a process of its own.

    python benchmarks/history_models.py MODEL --length=50

Prints "ready", then, for every line on standard input, trains some steps and prints their seconds.
A user, an item and the items that the user clicked before, of which each row has as many as is
drawn, at most `--length`: CTR alone, 512-256-128, an activation unit of 36. Every model sees the
same ids and labels, from memory, and takes Adam's steps. Peers are run as their documentation says.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()  # with tf_keras: DeepCTR knows no other Keras

from collections.abc import Callable

import numpy as np
from feeds import DIMENSION, UNITS, history_schema, random_histories
from turns import answer

from lt4rec_tf.core.command import make_deterministic

BATCHES = 8  # different ones, over and over
ATTENTION_UNITS = (36,)
Rounds = Callable[[int], None]  # trains so many steps


def mean(ids: int, batch: int, length: int) -> Rounds:
    """Builds our single-task network with the mean of the history."""
    return lt4rec_tf("mean", ids, batch, length)


def attention(ids: int, batch: int, length: int) -> Rounds:
    """Builds our single-task network with attention to the history."""
    return lt4rec_tf("attention", ids, batch, length)


def transformer(ids: int, batch: int, length: int) -> Rounds:
    """Builds our single-task network with a transformer over the history, and attention to it."""
    return lt4rec_tf("transformer", ids, batch, length)


def lt4rec_tf(pooling: str, ids: int, batch: int, length: int) -> Rounds:
    """Builds our single-task network."""
    import tensorflow as tf
    from networks import joint_step

    from lt4rec_tf.models.feature_encoder import Encoder
    from lt4rec_tf.models.layers.event_pooling import EventSizes
    from lt4rec_tf.models.lt4rec import build_network
    from lt4rec_tf.schema.variants import with_history

    make_deterministic()  # as `train` does
    schema = with_history(history_schema(ids, length).with_tasks(["ctr"]), pooling)
    events = EventSizes(ATTENTION_UNITS)
    encoder = Encoder(DIMENSION, 0.001, cross="gram", dcn_layers=0, events=events)
    network = build_network(schema, encoder, separate_towers=False, hidden_units=UNITS, seed=1)
    step = joint_step(network, schema)

    batches = []
    for seed in range(BATCHES):
        drawn = random_histories(ids, batch, length, seed)
        clicks = tf.constant(drawn.pop("click"))
        batches.append(
            {
                "features": {name: tf.constant(values) for name, values in drawn.items()},
                "labels": {"ctr": clicks},
                "weights": {"ctr": tf.ones(batch)},
                "user": tf.constant(drawn["user"]),
                "duration": tf.ones(batch),
            }
        )

    def train(steps: int) -> None:
        for index in range(steps):
            losses = step(batches[index % BATCHES])
        _ = [float(loss) for loss in losses.values()]

    return train


def deepctr_din(ids: int, batch: int, length: int) -> Rounds:
    """Builds DeepCTR's DIN, trained by Keras's own loop."""
    import tensorflow as tf
    from deepctr.feature_column import SparseFeat, VarLenSparseFeat
    from deepctr.models import DIN

    columns = [SparseFeat("user", ids, DIMENSION), SparseFeat("item", ids, DIMENSION)]
    clicked = SparseFeat("hist_item", ids, DIMENSION, embedding_name="item")
    columns.append(VarLenSparseFeat(clicked, maxlen=length, length_name="seq_length"))
    model = DIN(columns, ["item"], dnn_hidden_units=UNITS, att_hidden_size=ATTENTION_UNITS)
    model.compile("adam", loss="binary_crossentropy")

    drawn = [random_histories(ids, batch, length, seed) for seed in range(BATCHES)]
    whole = {name: np.concatenate([one[name] for one in drawn]) for name in drawn[0]}
    inputs = {
        "user": whole["user"].astype(np.int32),
        "item": whole["item"].astype(np.int32),
        "hist_item": whole["clicked"].astype(np.int32),
        "seq_length": np.count_nonzero(whole["clicked"], axis=1).astype(np.int32),
    }
    data = tf.data.Dataset.from_tensor_slices((inputs, whole["click"])).batch(batch)
    data = data.cache().repeat().prefetch(2)

    def train(steps: int) -> None:
        model.fit(data, steps_per_epoch=steps, verbose=0)

    return train


def rechub_din(ids: int, batch: int, length: int) -> Rounds:
    """Builds torch-rechub's DIN, trained by its own trainer."""
    import torch
    from torch_rechub.basic.features import SequenceFeature, SparseFeature
    from torch_rechub.models.ranking import DIN
    from torch_rechub.trainers import CTRTrainer

    torch.manual_seed(1)
    user = SparseFeature("user", vocab_size=ids, embed_dim=DIMENSION)
    item = SparseFeature("item", vocab_size=ids, embed_dim=DIMENSION)
    clicked = SequenceFeature(
        "clicked", vocab_size=ids, embed_dim=DIMENSION, pooling="concat", shared_with="item"
    )
    model = DIN(
        [user],
        [clicked],
        [item],
        mlp_params={"dims": list(UNITS)},
        attention_mlp_params={"dims": list(ATTENTION_UNITS)},
    )
    trainer = CTRTrainer(model, optimizer_params={"lr": 1e-3})
    batches = []
    for seed in range(BATCHES):
        drawn = random_histories(ids, batch, length, seed)
        clicks = torch.from_numpy(drawn.pop("click"))
        batches.append(({name: torch.from_numpy(v) for name, v in drawn.items()}, clicks))

    def train(steps: int) -> None:
        trainer.train_one_epoch([batches[index % BATCHES] for index in range(steps)])

    return train


MODELS = {
    "mean": mean,
    "attention": attention,
    "transformer": transformer,
    "deepctr_din": deepctr_din,
    "rechub_din": rechub_din,
}


def main() -> None:
    """Builds the model, warms it up, trains once per line of standard input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--length", type=int, required=True, help="most events of a row")
    parser.add_argument("--ids", type=int, default=200_000, help="items, and users")
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=10)
    flags = parser.parse_args()

    def build() -> Rounds:
        return MODELS[flags.model](flags.ids, flags.batch, flags.length)

    # Traces, and touches the rows once.
    answer(build, warm_up=BATCHES, steps=flags.steps)


if __name__ == "__main__":
    main()
