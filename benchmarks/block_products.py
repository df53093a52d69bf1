"""A tower's first layer cut to whole neurons and to blocks, beside the dense product.

    python benchmarks/block_products.py

512 rows, 1040 inputs, 512 units; what is cut leaves a fifth of the weights. Neurons: the alive
inputs are picked, then one smaller product. Blocks: inputs and units are parted into as many
blocks, block by block one batched product; a ticket that chooses which inputs form a block must
bring them together first, a fixed parting of neighbours need not. Forms take turns; medians.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
import tensorflow as tf
from serving_calls import medians_of

from lt4rec_tf.reports.text_tables import markdown_table

INPUTS, UNITS, DENSITY = 1040, 512, 0.2

Form = Callable[[tf.Tensor], tf.Tensor]


def main() -> None:
    """Times the forms, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=100)
    flags = parser.parse_args()

    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(flags.rows, INPUTS)), tf.float32)
    calls = {
        (name, ""): partial(_computed, tf.function(form), x) for name, form in _forms(rng).items()
    }
    seconds = medians_of(calls, flags.rounds)
    dense = seconds["dense", ""]
    lines = [[n, f"{1000 * s:.3f}", f"{s / dense:.2f}"] for (n, _), s in seconds.items()]
    print(markdown_table(["first layer", "ms", "of dense"], lines))


def _forms(rng: np.random.Generator) -> dict[str, Form]:
    """Returns the ways to compute the layer, by what the table calls them."""
    whole = _kernel(rng, INPUTS, UNITS)
    share = DENSITY**0.5
    alive = tf.constant(np.sort(rng.permutation(INPUTS)[: round(INPUTS * share)]))
    neurons = _kernel(rng, len(alive), round(UNITS * share))
    count = round(1 / DENSITY)
    blocks = _kernel(rng, count, INPUTS // count, UNITS // count)
    order = tf.constant(rng.permutation(INPUTS))
    return {
        "dense": lambda x: tf.nn.relu(x @ whole),
        "whole neurons": lambda x: tf.nn.relu(tf.gather(x, alive, axis=1) @ neurons),
        f"{count} blocks of chosen inputs": lambda x: _block(tf.gather(x, order, axis=1), blocks),
        f"{count} blocks of neighbours": lambda x: _block(x, blocks),
    }


def _computed(form: Form, x: tf.Tensor) -> None:
    form(x).numpy()


def _kernel(rng: np.random.Generator, *shape: int) -> tf.Variable:
    return tf.Variable(rng.normal(size=shape), dtype=tf.float32)


def _block(x: tf.Tensor, blocks: tf.Variable) -> tf.Tensor:
    """Multiplies part after part of the inputs by its block; (rows, units of all blocks)."""
    count, inputs, _ = blocks.shape
    parts = tf.transpose(tf.reshape(x, (-1, count, inputs)), (1, 0, 2))
    return tf.nn.relu(tf.reshape(tf.transpose(parts @ blocks, (1, 0, 2)), (tf.shape(x)[0], -1)))


if __name__ == "__main__":
    main()
