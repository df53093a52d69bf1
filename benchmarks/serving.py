"""Times requests: two dense single-task models against one shared network with tickets.

    python benchmarks/serving.py

20 fields of dimension 32, of which 12 are of user and context and 8 of items, as in LT4REC's own
logs; Gram cross layer, 512-256-128: 1040 inputs. Weights are random, not trained: a product's time
depends on its shape. Every model is saved as by `export` and run by the session loader, as in
TensorFlow Serving. Models take turns of a few requests. Results are medians over all requests and
ratios of medians.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import os
import platform
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf
from feeds import TASKS, wide_schema
from networks import wide_network
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.reports.text_tables import markdown_table
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.serving.model_card import folder_size
from lt4rec_tf.serving.publish import OpenedVersion, opened
from lt4rec_tf.serving.rank import Ranking
from lt4rec_tf.serving.signatures import ServedModel
from lt4rec_tf.tickets.neurons import prune_neurons

CANDIDATES = (1, 64, 512)
TURN = 4  # requests that are timed before it is the next model's turn
RANKING = Ranking({"ctr": 1.0, "cvr": 1.0})


def main() -> None:
    """Publishes the models, times them in turns, prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000, help="embedding rows of a field")
    parser.add_argument("--item_fields", type=int, default=8, help="what is ranked; others ask")
    parser.add_argument("--density", type=float, default=0.2, help="share of weights kept")
    parser.add_argument("--rounds", type=int, default=30, help="turns of each kind and model")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        schema = wide_schema(flags.rows, flags.item_fields)
        versions, seconds = {}, {}
        for name, networks, precision in models(schema, flags.density):
            saved_models = [saved(Path(folder), name, n, schema, precision) for n in networks]
            begun = time.perf_counter()
            versions[name] = [stack.enter_context(opened(place)) for place in saved_models]
            seconds[name] = time.perf_counter() - begun
        print(
            f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
            f"TensorFlow {tf.__version__}, density {flags.density}\n"
        )
        print(f"{time_table(versions, schema, flags)}\n\n{size_table(versions, seconds)}")


def models(schema: Schema, density: float) -> list[tuple[str, list[RankingNetwork], str]]:
    """Returns (name, networks that together predict both tasks, precision) of every model."""
    single = [built(schema.with_tasks([task])) for task in TASKS]
    weight, neuron, dense = (built(schema) for _ in range(3))
    rng = np.random.default_rng(0)
    for task in TASKS:
        kernels = {name: kernel.numpy() for name, kernel in neuron.kernels(task).items()}
        ones = {name: np.ones(kernel.shape, bool) for name, kernel in kernels.items()}
        weight.wear(task, {name: rng.random(m.shape) < density for name, m in ones.items()})
        scores = {name: kernel * rng.random(kernel.shape[1]) for name, kernel in kernels.items()}
        keep = round(density * sum(mask.size for mask in ones.values()))
        neuron.wear(task, prune_neurons(scores, ones, keep))
    return [
        ("two single-task models", single, "float32"),
        ("two single-task models, bfloat16", single, "bfloat16"),
        ("shared bottom", [dense], "float32"),
        ("s_weight", [weight], "float32"),
        ("s_weight, bfloat16", [weight], "bfloat16"),
        ("s_neuron", [neuron], "float32"),
        ("s_neuron, bfloat16", [neuron], "bfloat16"),
    ]


def built(schema: Schema) -> RankingNetwork:
    """Returns the network with its initial weights."""
    return wide_network(schema, stddev=0.05, seed=len(schema.tasks[0].name))


def saved(folder: Path, name: str, network: RankingNetwork, schema: Schema, precision: str) -> Path:
    """Saves a version of the network with its signatures."""
    schema = schema.with_tasks(network.tasks)
    exponents = {task: RANKING.exponents[task] for task in network.tasks}
    served = ServedModel(network, schema, ranking=Ranking(exponents), precision=precision)
    place = folder / f"{name}-{'-'.join(network.tasks)}".replace(" ", "_")
    tf.saved_model.save(served, str(place), signatures=served.signatures())
    return place


def time_table(
    versions: dict[str, list[OpenedVersion]], schema: Schema, flags: argparse.Namespace
) -> str:
    """Returns milliseconds per request, and the speed-up over two single-task models."""
    lines = []
    for candidates in CANDIDATES:
        calls = {
            (name, signature): all_of([prepared(v, signature, request) for v in opened_versions])
            for signature, request in requests(schema, candidates, flags.rows).items()
            for name, opened_versions in versions.items()
        }
        medians = medians_of(calls, flags.rounds)
        first = next(iter(versions))
        for name in versions:
            rank, repeated = (medians[name, s] for s in ("rank", "serving_default"))
            lines.append(
                [
                    str(candidates),
                    name,
                    f"{1000 * rank:.3f}",
                    f"{medians[first, 'rank'] / rank:.2f}",
                    f"{1000 * repeated:.3f}",
                    f"{medians[first, 'serving_default'] / repeated:.2f}",
                    f"{repeated / rank:.2f}",
                ]
            )
    header = ["candidates", "model", "rank, ms", "speed-up", "serving_default, ms", "speed-up"]
    return markdown_table([*header, "rank faster by"], lines, texts=2)


def requests(schema: Schema, candidates: int, rows: int) -> dict[str, dict[str, np.ndarray]]:
    """Makes one user and some candidates, for `rank` and, repeated, for `serving_default`."""
    rng = np.random.default_rng(candidates)
    inputs: dict[str, dict[str, np.ndarray]] = {"rank": {}, "serving_default": {}}
    for feature in schema.features:
        if feature.side == "item":
            values = rng.integers(0, rows - 2, candidates)
            inputs["rank"][feature.name] = values[np.newaxis]
            inputs["serving_default"][feature.name] = values
        else:
            values = rng.integers(0, rows - 2, 1)
            inputs["rank"][feature.name] = values
            inputs["serving_default"][feature.name] = np.repeat(values, candidates)
    return inputs


def prepared(
    version: OpenedVersion, signature: str, request: dict[str, np.ndarray]
) -> Callable[[], object]:
    """Returns a call that sends the request; it times the graph and little of Python's feeding."""
    definition = version.signatures[signature]
    outputs = [output.name for output in definition.outputs.values()]
    names = list(definition.inputs)
    run = version.session.make_callable(outputs, [definition.inputs[name].name for name in names])
    return partial(run, *(request[name] for name in names))


def all_of(calls: list[Callable[[], object]]) -> Callable[[], None]:
    """Returns a function that makes some calls in turn."""

    def call_all() -> None:
        for call in calls:
            call()

    return call_all


def medians_of(calls: dict[tuple[str, str], Callable[[], None]], rounds: int) -> dict:
    """Returns each call's median seconds; the calls take turns of some requests in a row."""
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    for _ in range(rounds):
        for key, call in calls.items():
            call()  # allocates memory and fills the caches, as a server's last request did
            for _ in range(TURN):
                begun = time.perf_counter()
                call()
                seconds[key].append(time.perf_counter() - begun)
    return {key: float(np.median(values)) for key, values in seconds.items()}


def size_table(versions: dict[str, list[OpenedVersion]], seconds: dict[str, float]) -> str:
    """Returns the megabytes, the graphs' nodes and the seconds to load of each model."""
    sizes = {
        name: sum(folder_size(version.folder) for version in opened_versions)
        for name, opened_versions in versions.items()
    }
    first = next(iter(sizes.values()))
    lines = []
    for name, size in sizes.items():
        nodes = sum(nodes_of(version.folder) for version in versions[name])
        share = f"{100 * size / first:.1f} %"
        lines.append([name, f"{size / 1e6:.2f}", share, f"{nodes:,}", f"{seconds[name]:.2f}"])
    return markdown_table(["model", "MB", "of two single-task models", "nodes", "load, s"], lines)


def nodes_of(version: Path) -> int:
    """Returns the number of nodes of a version's graph and functions."""
    saved_model = SavedModel.FromString((version / "saved_model.pb").read_bytes())
    graph = saved_model.meta_graphs[0].graph_def
    return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)


if __name__ == "__main__":
    main()
