"""TensorFlow Serving's REST interface, for development where the server is not there.

It follows the server's documented behaviour: addresses and status codes, both forms of predict,
regress, classify, status, metadata, version discovery, labels, warm-up. It does not batch, has no
gRPC and no metrics, and tries to load a version once, as with --max_num_load_retries=0.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lt4rec_tf.serving.development_server.answers import (
    column_answer,
    results_answer,
    row_answer,
    serialized_examples,
)
from lt4rec_tf.serving.development_server.loaded_version import LoadedVersion
from lt4rec_tf.serving.development_server.protocol import (
    HTTP_STATUS,
    INT64,
    ServingError,
    invalid,
    parse_json,
    predict_inputs,
    signature_name,
)
from lt4rec_tf.serving.development_server.versions import VersionedModel

VERSION_PART = r"(?:/versions/(\d+)|/labels/([^/:]+))?"
ASKED = re.compile(
    rf"/v1/models/([^/:]+){VERSION_PART}:(classify|regress|predict)", re.IGNORECASE | re.ASCII
)
DESCRIBED = re.compile(
    rf"/v1/models(?:/([^/:]+))?{VERSION_PART}(?:/(metadata))?", re.IGNORECASE | re.ASCII
)


@contextlib.contextmanager
def start_server(
    models: Mapping[str, VersionedModel],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    poll_seconds: float = 0.2,
) -> Iterator[str]:
    """Serves models until the context ends.

    Args:
        models: By name.
        host: Address to listen on.
        port: To listen on; 0: a free one.
        poll_seconds: Between two looks for new versions.

    Yields:
        The address, "http://<host>:<port>"; versions that lay there are loaded.

    Raises:
        OSError: The address is taken, or is none of this machine.
    """
    server = _Server((host, port), _Handler)
    server.models = models
    for model in models.values():
        model.poll()
    ended = threading.Event()
    threads = [
        threading.Thread(target=server.serve_forever, args=(0.05,)),
        threading.Thread(target=_poll, args=(models, ended, poll_seconds)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield f"http://{host}:{server.server_address[1]}"
    finally:
        ended.set()
        server.shutdown()
        for thread in threads:
            thread.join()
        server.server_close()


def _poll(models: Mapping[str, VersionedModel], ended: threading.Event, seconds: float) -> None:
    while not ended.wait(seconds):
        for model in models.values():
            model.poll()


@dataclass(frozen=True)
class Route:
    """What an address asks: `call` is predict, regress, classify, status or metadata."""

    call: str
    model: str
    version: int | None
    label: str | None


def parse_route(method: str, path: str) -> Route:
    """Reads an address below /v1/; letters match in any case, the call's name only as it is."""
    pattern = {"POST": ASKED, "GET": DESCRIBED}.get(method)
    found = pattern.fullmatch(path) if pattern else None
    if not found or (method == "POST" and found[4] not in ("classify", "regress", "predict")):
        raise invalid(f"Malformed request: {method} {path}")
    model, version, label, call = found.groups()
    if model is None:
        raise invalid("Missing model name in request.")
    if version is not None and int(version) > INT64[1]:
        raise invalid(f"Failed to convert version: {version} to numeric.")
    if method == "GET":
        call = "metadata" if call == "metadata" else "status"
    return Route(
        call,
        _percent_decoded(model),
        None if version is None else int(version),
        None if label is None else _percent_decoded(label),
    )


def _percent_decoded(text: str) -> str:
    return unquote(text, errors="surrogateescape")


def answer(models: Mapping[str, VersionedModel], method: str, path: str, body: bytes) -> bytes:
    """The JSON that answers a request below /v1/.

    Raises:
        ServingError: The request is refused.
    """
    route = parse_route(method, path)
    if route.call == "status":
        if route.model not in models:
            raise ServingError("NOT_FOUND", f"Could not find any versions of model {route.model}")
        return _json({"model_version_status": models[route.model].status(route.version)})
    if route.call == "metadata":
        number, version = _find(models, route)
        spec = {"name": route.model, "signature_name": "", "version": str(number)}
        definitions = {"signature_def": {"signature_def": version.metadata()}}
        return _json({"model_spec": spec, "metadata": definitions})
    request = parse_json(body)
    signature = signature_name(request)
    if route.call == "predict":
        _, version = _find(models, route)
        inputs, in_rows = predict_inputs(request, version.dtypes(signature))
        outputs = version.run(signature, inputs)
        return row_answer(outputs) if in_rows else column_answer(outputs)
    examples = serialized_examples(request)
    _, version = _find(models, route)
    run = version.regress if route.call == "regress" else version.classify
    return results_answer(run(signature, examples))


def _find(models: Mapping[str, VersionedModel], route: Route) -> tuple[int, LoadedVersion]:
    # A model that is not configured is found as one without versions is.
    model = models.get(route.model) or VersionedModel(route.model, Path(), {}, 1)
    return model.find(route.version, route.label)


def _json(value: object) -> bytes:
    # As it came: bytes of a request that are no text are in the answer what they were.
    return json.dumps(value, indent=1, ensure_ascii=False).encode("utf-8", "surrogateescape")


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    models: Mapping[str, VersionedModel]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        if not re.fullmatch("/v1/.*", path, re.IGNORECASE):
            self._send(404, "text/html", b"<html><body><h1>Not Found</h1></body></html>")
            return
        try:
            status, content = 200, answer(self.server.models, self.command, path, body)
        except ServingError as error:
            status, content = HTTP_STATUS[error.code], _json({"error": error.message})
        self._send(status, "application/json", content)

    # Names that the base class looks for.
    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = do_PATCH = do_OPTIONS = _answer  # noqa: N815

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, template: str, *values: object) -> None:
        """Says nothing of a request that was answered."""
