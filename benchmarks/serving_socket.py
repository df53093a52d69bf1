"""Requests over sockets to TensorFlow Serving, which serving.py starts; by the clients of export/.

The server and its client share this machine's cores. Needs tensorflow-serving-api.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from lt4rec_tf.core.errors import InputError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "export"))

import grpc_calls
import rest
from answers import check
from errors import ScriptError
from request import Request
from rows import Row
from signature import read_signature

READY_SECONDS = 120.0  # for loading all models
REQUEST_SECONDS = 30.0
END_SECONDS = 10.0  # between asking a server to end and ending it
LAST_LINES = 20  # displayed of what a server printed


class ServerError(InputError):
    """A server that does not start, ends, or does not answer."""


@dataclass(frozen=True)
class Addresses:
    """Where a server listens.

    Attributes:
        rest: "http://host:8501".
        grpc: "host:8500".
    """

    rest: str
    grpc: str


@contextlib.contextmanager
def connected(addresses: Addresses, timeout: float = REQUEST_SECONDS) -> Iterator[dict[str, Any]]:
    """Opens a connection of each protocol, which the calls of all models share.

    Args:
        addresses: Of the server.
        timeout: Seconds that an answer may take.

    Yields:
        Protocol -> client: a `grpc_calls.Model` or a `rest.Model`.
    """
    with (
        contextlib.closing(grpc_calls.Model(addresses.grpc, "", timeout=timeout)) as by_grpc,
        contextlib.closing(rest.Model(addresses.rest, "", timeout=timeout)) as by_rest,
    ):
        yield {"gRPC": by_grpc, "REST": by_rest}


def rank_call(client: Any, model: str, inputs: Mapping[str, np.ndarray]) -> Callable[[], object]:
    """Makes a model's `rank` request once and checks its answer.

    Args:
        client: Of `connected`.
        model: Its name on the server.
        inputs: Input -> values of one request, (1, candidates, ...) or (1, ...).

    Returns:
        A function that sends the request and waits for the whole answer.

    Raises:
        ScriptError: The server has no such model, or its answer is none to the request.
    """
    client.name = model  # every message names its model: one connection serves them all
    signature = read_signature(client.signatures(), "rank")
    lists = {feature.name: inputs[feature.name].tolist() for feature in signature.features}
    (candidates,) = {len(lists[f.name][0]) for f in signature.features if f.of_candidate}
    rows = tuple(Row(line, {}, {}) for line in range(candidates))
    request = Request(rows, lists, candidates=candidates)

    call = client.call(signature, request)
    check(signature, request, client.read(signature, request, client.send(call)))
    return partial(client.send, call)


@contextlib.contextmanager
def started(
    program: str, bases: Sequence[Path], seconds: float = READY_SECONDS
) -> Iterator[Addresses]:
    """Serves models on free ports of this machine; the server ends with the context.

    Args:
        program: tensorflow_model_server.
        bases: Folders of the models' versions; a folder's name is its model's.
        seconds: Until the server must answer for all models.

    Raises:
        ServerError: It does not start, ends, or does not answer; with its last lines.
    """
    with tempfile.TemporaryDirectory() as folder:
        config, log = Path(folder) / "models.config", Path(folder) / "server.log"
        config.write_text(config_text(bases), encoding="utf-8")
        rest_port, grpc_port = free_ports(2)
        command = [
            program,
            f"--port={grpc_port}",
            f"--rest_api_port={rest_port}",
            f"--model_config_file={config}",
            "--max_num_load_retries=0",
        ]
        addresses = Addresses(f"http://127.0.0.1:{rest_port}", f"127.0.0.1:{grpc_port}")
        try:
            with running(command, log) as process:
                wait_until_ready(process, addresses, [base.name for base in bases], seconds)
                yield addresses
        except (ScriptError, ServerError) as error:
            raise ServerError(f"{program}: {error}\n{last_lines(log)}".rstrip()) from error


def config_text(bases: Sequence[Path]) -> str:
    """Returns the --model_config_file of models, named as their folders."""
    config = ModelServerConfig()
    for base in bases:
        config.model_config_list.config.add(
            name=base.name, base_path=str(base.resolve()), model_platform="tensorflow"
        )
    return text_format.MessageToString(config)


def free_ports(count: int) -> list[int]:
    """Returns different ports of this machine on which nothing listens."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        return [free.getsockname()[1] for free in sockets]


@contextlib.contextmanager
def running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen]:
    """Runs a program with its output in a file; it ends with the context, whatever happens."""
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        except OSError as error:
            raise ServerError(f"cannot be started ({error})") from error
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(
    process: subprocess.Popen, addresses: Addresses, models: Sequence[str], seconds: float
) -> None:
    """Returns when a server tells the metadata of all models by both protocols.

    Raises:
        ServerError: Its process has ended, or the seconds have passed.
    """
    deadline = time.monotonic() + seconds
    while True:
        failure = first_failure(addresses, models, max(0.1, deadline - time.monotonic()))
        if process.poll() is not None:
            raise ServerError(f"ended with {process.returncode}")
        if failure is None:
            return
        if time.monotonic() > deadline:
            raise ServerError(f"not ready after {seconds:g} seconds ({failure})")
        time.sleep(0.1)


def first_failure(
    addresses: Addresses, models: Sequence[str], timeout: float
) -> ScriptError | None:
    """Asks for the metadata of models; returns the first error, None where there is none."""
    with connected(addresses, timeout) as clients:
        try:
            for client, model in itertools.product(clients.values(), models):
                client.name = model
                client.signatures()
        except ScriptError as error:
            return error
    return None


def last_lines(log: Path) -> str:
    """Returns the end of what a server printed."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-LAST_LINES:])
