"""Times requests: two dense single-task models against one shared network with tickets.

    python benchmarks/serving.py
    python benchmarks/serving.py --server=/usr/bin/tensorflow_model_server

20 fields of dimension 32, of which 12 are of user and context and 8 of items, as in LT4REC's own
logs; Gram cross layer, 512-256-128: 1040 inputs. Weights are random, not trained: a product's time
depends on its shape. Every model is saved as by `export`.

`tensorflow_model_server`, where it is named or on PATH, serves the models, and `rank` is timed over
its sockets by gRPC and REST, each over one kept connection: from sending a request, made before,
until its whole answer is read. gRPC's encoding of messages counts, making and reading JSON does
not. Elsewhere the session loader, as in TensorFlow Serving, runs the models in this process.

Tickets of `s_weight` and `s_neuron` keep --density of the weights, structured ones the shares of
inputs and units in serving_models.py, whatever --density.

Models, by each protocol or signature, take turns of a few requests; two single-task models are
asked one after the other. Results are medians over all requests and ratios of medians.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow, exit_on_error

if __name__ == "__main__":
    before_tensorflow()

import importlib.util
import itertools
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from feeds import wide_schema
from serving_calls import all_of, medians_of, prepared
from serving_models import models
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from lt4rec_tf.core.errors import InputError
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.reports.text_tables import markdown_table
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.serving.model_card import folder_size
from lt4rec_tf.serving.publish import opened
from lt4rec_tf.serving.rank import Ranking
from lt4rec_tf.serving.signatures import ServedModel

if TYPE_CHECKING:
    from serving_socket import Addresses

CANDIDATES = (1, 64, 512)
SERVER = "tensorflow_model_server"


def main(argv: Sequence[str]) -> None:
    """Saves the models, times them in turns, prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000, help="embedding rows of a field")
    parser.add_argument("--item_fields", type=int, default=8, help="what is ranked; others ask")
    parser.add_argument("--density", type=float, default=0.2, help="share of weights kept")
    parser.add_argument("--rounds", type=int, default=30, help="turns of each kind and model")
    parser.add_argument("--server", help=f"the program {SERVER}, if not the one on PATH")
    flags = parser.parse_args(argv[1:])
    program = server_program(flags.server)

    with tempfile.TemporaryDirectory() as folder:
        schema = wide_schema(flags.rows, flags.item_fields)
        versions = {
            name: [saved(Path(folder), name, network, schema, precision) for network in networks]
            for name, networks, precision in models(schema, flags.density)
        }
        print(
            f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
            f"TensorFlow {tf.__version__}, density {flags.density}"
        )
        asked = {count: requests(schema, count, flags.rows) for count in CANDIDATES}
        if program:
            print(f"by {program} over sockets; client and server share the cores\n")
            print(served_table(program, versions, asked, flags.rounds))
        else:
            print(f"no {SERVER} on PATH: by the session loader in this process\n")
            print(session_table(versions, asked, flags.rounds))
        print(f"\n{size_table(versions)}")


def server_program(named: str | None) -> str | None:
    """Returns the path of the server's program: the named one, or the one on PATH, if any.

    Raises:
        InputError: The named one is no program, or what its client needs is not installed.
    """
    program = shutil.which(named or SERVER)
    if named and not program:
        raise InputError(f"--server: found {named}, expected the program {SERVER}")
    if program and not importlib.util.find_spec("tensorflow_serving"):
        needs = "gRPC needs tensorflow-serving-api, pip install 'lt4rec_tf[serving]'"
        raise InputError(f"{program}: found, but {needs}")
    return program


def saved(folder: Path, name: str, network: RankingNetwork, schema: Schema, precision: str) -> Path:
    """Saves version 1 of a model of its own, the network with its signatures; returns it."""
    schema = schema.with_tasks(network.tasks)
    ranking = Ranking(dict.fromkeys(network.tasks, 1.0))
    served = ServedModel(network, schema, ranking=ranking, precision=precision)
    model = "-".join([name, *network.tasks]).replace(" ", "_").replace(",", "")
    version = folder / model / "1"
    tf.saved_model.save(served, str(version), signatures=served.signatures())
    return version


def served_table(
    program: str, versions: Mapping[str, list[Path]], asked: Mapping[int, dict], rounds: int
) -> str:
    """Serves the models while they are timed; returns the table of `socket_table`."""
    import serving_socket

    bases = [version.parent for version in itertools.chain(*versions.values())]
    names = {name: [version.parent.name for version in vs] for name, vs in versions.items()}
    with serving_socket.started(program, bases) as addresses:
        return socket_table(addresses, names, asked, rounds)


def socket_table(
    addresses: Addresses, names: Mapping[str, list[str]], asked: Mapping[int, dict], rounds: int
) -> str:
    """Returns milliseconds per `rank` request by gRPC and REST, and the speed-up of each.

    Args:
        addresses: Of a server.
        names: Model -> names on the server of those that are asked one after the other; what the
            speed-up is to comes first.
        asked: Candidates -> signature -> inputs.
        rounds: Turns of each model and protocol.
    """
    from serving_socket import connected, rank_call

    lines = []
    with connected(addresses) as clients:
        for candidates, inputs in asked.items():
            calls = {
                (name, protocol): all_of([rank_call(client, n, inputs["rank"]) for n in served])
                for protocol, client in clients.items()
                for name, served in names.items()
            }
            medians = medians_of(calls, rounds)
            for name in names:
                lines.append([str(candidates), name, *time_cells(medians, name, clients)])
    header = ["candidates", "model", "gRPC rank, ms", "speed-up", "REST rank, ms", "speed-up"]
    return markdown_table(header, lines, texts=2)


def session_table(
    versions: Mapping[str, list[Path]], asked: Mapping[int, dict], rounds: int
) -> str:
    """Returns milliseconds per request, and the speed-up over two single-task models."""
    lines = []
    with ExitStack() as stack:
        loaded = {
            name: [stack.enter_context(opened(version)) for version in places]
            for name, places in versions.items()
        }
        for candidates, inputs in asked.items():
            calls = {
                (name, signature): all_of([prepared(v, signature, request) for v in loaded[name]])
                for signature, request in inputs.items()
                for name in versions
            }
            medians = medians_of(calls, rounds)
            for name in versions:
                cells = time_cells(medians, name, inputs)
                faster = medians[name, "serving_default"] / medians[name, "rank"]
                lines.append([str(candidates), name, *cells, f"{faster:.2f}"])
    header = ["candidates", "model", "rank, ms", "speed-up", "serving_default, ms", "speed-up"]
    return markdown_table([*header, "rank faster by"], lines, texts=2)


def time_cells(
    medians: Mapping[tuple[str, str], float], name: str, kinds: Iterable[str]
) -> list[str]:
    """Returns a model's milliseconds and speed-up over the first model, for requests by kind."""
    first = next(iter(medians))[0]
    cells = []
    for kind in kinds:
        seconds = medians[name, kind]
        cells += [f"{1000 * seconds:.3f}", f"{medians[first, kind] / seconds:.2f}"]
    return cells


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


def size_table(versions: Mapping[str, list[Path]]) -> str:
    """Returns the megabytes, the graphs' nodes and the seconds to load of each model."""
    sizes = {name: sum(map(folder_size, places)) for name, places in versions.items()}
    first = next(iter(sizes.values()))
    lines = []
    for name, size in sizes.items():
        nodes = sum(map(nodes_of, versions[name]))
        share = f"{100 * size / first:.1f} %"
        seconds = load_seconds(versions[name])
        lines.append([name, f"{size / 1e6:.2f}", share, f"{nodes:,}", f"{seconds:.2f}"])
    return markdown_table(["model", "MB", "of two single-task models", "nodes", "load, s"], lines)


def load_seconds(versions: Sequence[Path]) -> float:
    """Returns the seconds in which the session loader opens versions one after the other."""
    with ExitStack() as stack:
        begun = time.perf_counter()
        for version in versions:
            stack.enter_context(opened(version))
        return time.perf_counter() - begun


def nodes_of(version: Path) -> int:
    """Returns the number of nodes of a version's graph and functions."""
    saved_model = SavedModel.FromString((version / "saved_model.pb").read_bytes())
    graph = saved_model.meta_graphs[0].graph_def
    return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends the server too
    sys.exit(exit_on_error(main, sys.argv, resumes=""))
