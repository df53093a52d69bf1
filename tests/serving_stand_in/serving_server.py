"""A server for tests: the one that is named, TensorFlow Serving where it is installed, or ours.

LT4REC_SERVING_URL=http://localhost:8501 LT4REC_SERVING_MODEL=feed names a server that runs; tests
that must know what it serves or publish to it are skipped then.
"""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from lt4rec_tf.serving.publish import published_versions
from tests.serving_stand_in.folders_served import serve_folders
from tests.support.versions import session_answers

DTYPES = {"DT_STRING": object, "DT_INT64": np.int64, "DT_FLOAT": np.float32}
VALUES = {
    "DT_STRING": ["u1", "планшет", "", "-1", "🎬 кино", "\x00ÿ", 'a "b"\n', "a" * 300, "unseen"],
    "DT_INT64": [-1, 0, 7, 23, 24, -(2**63), 2**63 - 1],
    "DT_FLOAT": [0.5, -3.0, 1e4, 300.0, 27.25, float("nan"), float("inf"), float("-inf"), 1e30],
}
WIDTH = 3  # of every list in a request


def send(url: str, method: str, path: str, body: bytes = b"") -> tuple[int, str | None, bytes]:
    """Status, content type and text of an answer."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.getheader("Content-Type"), response.read()
    finally:
        connection.close()


def post(url: str, path: str, body: Any) -> tuple[int, bytes]:
    """Status and text of the answer to a POST of an object, or of a text as it is."""
    if not isinstance(body, str | bytes):
        body = json.dumps(body)
    status, kind, text = send(url, "POST", path, body.encode() if isinstance(body, str) else body)
    assert kind == "application/json"
    return status, text


def states(url: str, model: str = "m") -> dict[str, str]:
    """Version -> its state, newest first."""
    status, _, text = send(url, "GET", f"/v1/models/{model}")
    found = json.loads(text)["model_version_status"] if status == 200 else []
    return {entry["version"]: entry["state"] for entry in found}


def wait_for(url: str, expected: Mapping[str, str], model: str = "m", seconds: float = 60) -> None:
    """Returns when versions have these states; fails when they do not come."""
    deadline = time.monotonic() + seconds
    while not expected.items() <= states(url, model).items():
        assert time.monotonic() < deadline, (states(url, model), expected)
        time.sleep(0.02)


@dataclass(frozen=True)
class Server:
    """What answers, and what it serves.

    Attributes:
        url: Scheme, host and port.
        model: The model's name.
        base: The model's folder; None where the server was only named.
    """

    url: str
    model: str
    base: Path | None

    def call(self, verb: str, request: Any) -> tuple[int, dict[str, Any]]:
        """Status and content of the answer to predict or regress.

        Bytes that are no text, which a refusal may quote, are halves of surrogate pairs in it.
        """
        status, text = post(self.url, f"/v1/models/{self.model}:{verb}", request)
        return status, json.loads(text.decode("utf-8", "surrogateescape"))

    def columns(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The outputs by name for inputs by column."""
        status, content = self.call("predict", {"signature_name": signature, "inputs": inputs})
        assert status == 200, content
        return self._named(signature, content["outputs"])

    def rows(self, signature: str, rows: list[Any]) -> dict[str, np.ndarray]:
        """The outputs by name for inputs by row."""
        status, content = self.call("predict", {"signature_name": signature, "instances": rows})
        assert status == 200, content
        found = content["predictions"]
        if isinstance(found[0], dict):
            found = {name: [row[name] for row in found] for name in found[0]}
        return self._named(signature, found)

    def _named(self, signature: str, found: Any) -> dict[str, np.ndarray]:
        if not isinstance(found, dict):
            found = {self.outputs(signature)[0]: found}
        return {name: np.array(values, np.float32) for name, values in found.items()}

    def refusal(self, signature: str, **request: Any) -> str:
        """The message of a predict request that is answered by 400."""
        status, content = self.call("predict", {"signature_name": signature, **request})
        assert (status, list(content)) == (400, ["error"]), content
        return content["error"]

    def definitions(self) -> dict[str, Any]:
        """Signatures by name, as the metadata route shows them."""
        status, _, text = send(self.url, "GET", f"/v1/models/{self.model}/metadata")
        assert status == 200, text
        return json.loads(text)["metadata"]["signature_def"]["signature_def"]

    def outputs(self, signature: str) -> list[str]:
        """Names of a signature's outputs."""
        return sorted(self.definitions()[signature]["outputs"])

    def inputs(self, signature: str) -> dict[str, tuple[str, int]]:
        """Name -> dtype and rank of a signature's inputs."""
        found = self.definitions()
        if signature not in found and self.base is None:
            pytest.skip(f"the named server's model has no signature {signature}")
        return {
            name: (info["dtype"], len(info["tensor_shape"]["dim"]))
            for name, info in found[signature]["inputs"].items()
        }

    def random_inputs(self, signature: str, rows: int, seed: int = 0) -> dict[str, Any]:
        """Odd and usual values by input, as columns of JSON; lists have `WIDTH` values."""
        rng = np.random.default_rng(seed)
        found = {}
        for name, (dtype, rank) in sorted(self.inputs(signature).items()):
            shape = (rows,) + (WIDTH,) * (rank - 1)
            places = rng.integers(0, len(VALUES[dtype]), shape)
            found[name] = np.array(VALUES[dtype], object)[places].tolist()
        return found

    def version(self) -> Path:
        """The folder of the version that serves."""
        if self.base is None:
            pytest.skip("LT4REC_SERVING_URL: the version's files are the server's, not ours")
        return published_versions(self.base)[-1]

    def by_session(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """What the session loader answers to the same columns."""
        kinds = self.inputs(signature)
        arrays = {}
        for name, column in inputs.items():
            values = np.array(column, DTYPES[kinds[name][0]])
            if values.dtype == object:
                flat = [value.encode() for value in values.reshape(-1)]
                values = np.array(flat, object).reshape(values.shape)
            arrays[name] = values
        return session_answers(self.version(), signature, arrays)


def as_rows(columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """The row form of columns."""
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def named_server() -> Server | None:
    """The server that the environment names."""
    url = os.environ.get("LT4REC_SERVING_URL", "").rstrip("/")
    return Server(url, os.environ.get("LT4REC_SERVING_MODEL", "feed"), None) if url else None


@contextlib.contextmanager
def started_server(base: Path, model: str = "feed") -> Iterator[Server]:
    """Serves a model's folder by tensorflow_model_server where it is on PATH, else by ours."""
    program = shutil.which("tensorflow_model_server")
    if program:
        with _started_program(program, base, model) as server:
            yield server
    else:
        with serve_folders({model: base}) as url:
            yield Server(url, model, base)


@contextlib.contextmanager
def _started_program(program: str, base: Path, model: str) -> Iterator[Server]:
    rest, grpc = _free_ports(2)
    arguments = [
        f"--rest_api_port={rest}",
        f"--port={grpc}",
        f"--model_name={model}",
        f"--model_base_path={base.resolve()}",
        "--file_system_poll_wait_seconds=1",
        "--max_num_load_retries=0",
    ]
    process = subprocess.Popen(
        [program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    server = Server(f"http://127.0.0.1:{rest}", model, base)
    try:
        deadline = time.monotonic() + 120
        while not _serves(server):
            assert process.poll() is None, f"{program} ended with {process.returncode}"
            assert time.monotonic() < deadline, f"{program}: no version after 120 seconds"
            time.sleep(0.2)
        yield server
    finally:
        process.terminate()
        process.wait()


def _serves(server: Server) -> bool:
    try:
        return "AVAILABLE" in states(server.url, server.model).values()
    except OSError:
        return False


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        return [free.getsockname()[1] for free in sockets]
