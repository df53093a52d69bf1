"""Milliseconds of `rank` with a history to which candidates attend, beside the mean of it.

    python benchmarks/history_rank.py

10 fields of users, 10 of items, 100,000 ids each of dimension 16; a history of two lists; towers of
512-256-128 for CTR and CVR, dense and with a fifth of the weights. The models take turns, request
by request. Shown are the median over the requests, the median of the ratios to mean pooling, and
the largest difference of a prediction to the same rows asked one by one.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from feeds import ATTENTION, EVENTS, FEATURE, UNITS, clicked_items, schema_of

from lt4rec_tf.models.feature_encoder import Encoder
from lt4rec_tf.models.lt4rec import build_network
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.reports.text_tables import markdown_table
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.schema.variants import with_history
from lt4rec_tf.serving.rank import Ranking
from lt4rec_tf.serving.signatures import ServedModel

IDS, AGES = 100_000, 10
FIELDS_OF_SIDE, DIMENSION = 10, 16
POOLINGS = ("mean", "attention", "softmax_attention", "transformer")
NEAREST = ATTENTION + '\nnearest = 50\nsearch = "{search}"'


def main() -> None:
    """Times the models of each density, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=512)
    parser.add_argument("--events", type=int, default=50)
    parser.add_argument("--long", type=int, default=1000, help="events of which 50 are nearest")
    parser.add_argument("--requests", type=int, default=100)
    flags = parser.parse_args()

    asked = f"{flags.requests} requests of {flags.candidates} candidates"
    print(f"tensorflow {tf.__version__}, {os.cpu_count()} cores, {asked}\n")
    lines = []
    for density in (1.0, 0.2):
        models = {}
        for pooling in POOLINGS:
            schema = with_history(feed(flags.events), pooling)
            models[f"{pooling}, {flags.events} events"] = served(schema, density)
        for search in ("hash", "clicked"):
            schema = feed(flags.long, NEAREST.format(search=search))
            label = f"attention to 50 of {flags.long}, by {search}"
            models[label] = served(schema, density)
        lines += lines_of(density, models, flags)
    header = ["alive", "history", "ms", "of mean", "largest difference"]
    print(markdown_table(header, lines, texts=2))


def feed(length: int, pooling: str = ATTENTION) -> Schema:
    """Returns the schema, with a history of so many events: items, and how long ago."""
    features = ""
    for side in ("user", "item"):
        for index in range(FIELDS_OF_SIDE):
            features += FEATURE.format(side=side, index=index, last=IDS - 3)
    features += clicked_items(length, IDS - 3, table="item_0", candidate="item_0", pooling=pooling)
    aligned = 'aligned_with = "clicked"'
    return schema_of(
        features + EVENTS.format(name="ago", length=length, last=AGES - 1, keys=aligned)
    )


def masked_network(
    schema: Schema, density: float, *, mask_attention: bool = False
) -> RankingNetwork:
    """Builds the network; each task keeps so many of its weights, drawn at random."""
    encoder = Encoder(DIMENSION, 0.1, cross="gram", dcn_layers=0)
    network = build_network(
        schema,
        encoder,
        separate_towers=False,
        hidden_units=UNITS,
        seed=1,
        mask_attention=mask_attention,
    )
    rng = np.random.default_rng(0)
    for task in network.tasks:
        masks = {name: rng.random(s) < density for name, s in network.kernel_shapes(task).items()}
        network.wear(task, masks)
    return network


def served(
    schema: Schema, density: float, *, mask_attention: bool = False
) -> tuple[Schema, Callable[..., Any], Callable[..., Any]]:
    """Returns the schema, and the signatures of a network: `rank`, and that of rows."""
    network = masked_network(schema, density, mask_attention=mask_attention)
    ranking = Ranking(dict.fromkeys(network.tasks, 1.0))
    signatures = ServedModel(network, schema, ranking=ranking).signatures("rank", "serving_default")
    return schema, signatures["rank"], signatures["serving_default"]


def request(schema: Schema, candidates: int) -> dict[str, np.ndarray]:
    """Draws a request of `rank` whose history is as long as it may be."""
    rng = np.random.default_rng(1)
    shapes = {"user": (1,), "item": (1, candidates)}
    return {
        feature.name: rng.integers(
            0,
            feature.ids.rows - 2,
            (1, feature.max_values) if feature.multivalued else shapes[feature.side],
        )
        for feature in schema.features
    }


def lines_of(density: float, models: dict[str, Any], flags: argparse.Namespace) -> list[list[str]]:
    """Times models that take turns; returns the table's lines."""
    seconds: dict[str, list[float]] = {name: [] for name in models}
    differences = {}
    requests = {name: request(m[0], flags.candidates) for name, m in models.items()}
    for name, model in models.items():
        differences[name] = difference(*model, requests[name])
    for _ in range(flags.requests):
        for name, (_, rank, _) in models.items():
            sent = {key: tf.constant(values) for key, values in requests[name].items()}
            begun = time.perf_counter()
            rank(**sent)
            seconds[name].append(time.perf_counter() - begun)

    of_mean = np.array(next(iter(seconds.values())))
    return [
        [
            f"{density:.0%}".replace("%", " %"),
            name,
            f"{1000 * np.median(times):.2f}",
            f"{np.median(np.array(times) / of_mean):.2f}",
            f"{differences[name]:.1e}",
        ]
        for name, times in seconds.items()
    ]


def difference(
    schema: Schema, rank: Callable[..., Any], of_rows: Callable[..., Any], sent: dict[str, Any]
) -> float:
    """Returns the largest difference of a prediction by `rank` to that of the candidate's row."""
    rows = {}
    for feature in schema.features:
        values = sent[feature.name]
        count = sent["item_0"].shape[1]
        rows[feature.name] = values[0] if feature.side == "item" else np.repeat(values, count, 0)
    ranked = rank(**{name: tf.constant(values) for name, values in sent.items()})
    answered = of_rows(**{name: tf.constant(values) for name, values in rows.items()})
    return max(
        float(np.abs(ranked[name].numpy()[0] - answered[name].numpy()).max())
        for name in ("pctr", "pcvr")
    )


if __name__ == "__main__":
    main()
