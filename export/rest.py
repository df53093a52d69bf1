"""TensorFlow Serving's REST routes; the standard library alone.

Connections go straight to the host that the address names: no proxy, no redirect.
"""

from __future__ import annotations

import base64
import http.client
import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import tf_example
from rows import Request
from signature import Signature


class NoAnswerError(Exception):
    """Nothing came back: no server there, or not in time."""


class RefusedError(Exception):
    """The server answered with an error."""


@dataclass(frozen=True)
class Model:
    """A model on a server.

    Args:
        url: Of the server, "http://host:8501"; a path in it is kept.
        name: Of the model.
        version: A version's number; "": the highest that is available.
        label: A version's label instead.
        timeout: Seconds that an answer may take.
        headers: Sent with every request.
    """

    url: str
    name: str
    version: str = ""
    label: str = ""
    timeout: float = 30.0
    headers: Mapping[str, str] = field(default_factory=dict)

    def path(self, route: str = "") -> str:
        """Returns the path of a route: ":predict", ":regress", "/metadata", or the status."""
        prefix = urllib.parse.urlsplit(self.url).path.rstrip("/")
        version = f"/versions/{self.version}" if self.version else ""
        label = f"/labels/{urllib.parse.quote(self.label, safe='')}" if self.label else ""
        name = urllib.parse.quote(self.name, safe="")
        return f"{prefix}/v1/models/{name}{version or label}{route}"

    def signatures(self) -> Mapping[str, Any]:
        """Returns the model's signature definitions by name.

        Raises:
            NoAnswerError: No server, or not in time.
            RefusedError: The server has no such model, or not yet.
        """
        answer = self._ask("GET", self.path("/metadata"))
        try:
            return answer["metadata"]["signature_def"]["signature_def"]
        except (KeyError, TypeError) as error:
            raise RefusedError(f"{self.url}: is no TensorFlow Serving: {answer}") from error

    def ask(self, signature: Signature, request: Request) -> dict[str, list]:
        """Sends a request and returns the model's answers.

        Returns:
            By output: nested lists, as many as the request has rows; (1, candidates) where the
            signature scores candidates.

        Raises:
            NoAnswerError: No server, or not in time.
            RefusedError: The server refused the request.
        """
        answer = self._ask("POST", self.path(verb(signature)), body(signature, request))
        answers = answer["results" if signature.kind == "regress" else "outputs"]
        return {signature.outputs[0]: answers} if len(signature.outputs) == 1 else answers

    def _ask(self, method: str, path: str, content: bytes | None = None) -> Any:
        connection = connect(self.url, self.timeout)
        try:
            status, answer = exchange(connection, method, path, content, self.headers)
        finally:
            connection.close()

        place = f"{method} {urllib.parse.urlsplit(self.url).netloc}{path}"
        try:
            read = json.loads(answer)
        except ValueError as error:
            raise RefusedError(f"{place}: {status}, and no JSON: {answer[:200]!r}") from error
        if status != http.client.OK:
            message = read.get("error", read) if isinstance(read, dict) else read
            raise RefusedError(f"{place}: {status}: {message}")
        return read


def verb(signature: Signature) -> str:
    """Returns the route of a signature's calls."""
    return ":regress" if signature.kind == "regress" else ":predict"


def body(signature: Signature, request: Request) -> bytes:
    """Encodes a call: regress takes examples; predict takes inputs, in column form."""
    named = {"signature_name": signature.name}
    if signature.kind == "regress":
        # Floats keep their point in JSON (2.0): by it the server distinguishes them from integers.
        return encode(named | {"examples": list(request.examples)})
    if signature.kind == "examples":
        serialized = [tf_example.serialize(example) for example in request.examples]
        encoded = [{"b64": base64.b64encode(content).decode("ascii")} for content in serialized]
        return encode(named | {"inputs": encoded})

    inputs = dict(request.inputs or {})
    return encode(named | {"inputs": next(iter(inputs.values())) if len(inputs) == 1 else inputs})


def encode(content: Any) -> bytes:
    """Encodes JSON in UTF-8, with NaN and Infinity, which TensorFlow Serving takes as numbers."""
    return json.dumps(content, ensure_ascii=False).encode("utf-8")


def connect(url: str, timeout: float) -> http.client.HTTPConnection:
    """Returns a connection, which opens at its first request.

    Raises:
        ValueError: Not an address of http or https.
    """
    parts = urllib.parse.urlsplit(url)
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    if parts.scheme not in kinds or not parts.hostname:
        raise ValueError(f"found {url}, expected http://host:port or https://host:port")
    return kinds[parts.scheme](parts.hostname, parts.port, timeout=timeout)


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    """Sends one request and reads its answer.

    Returns:
        The status and the body.

    Raises:
        NoAnswerError: No server, or not in time.
    """
    try:
        all_headers = {"Content-Type": "application/json"} | dict(headers or {})
        connection.request(method, path, content, all_headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        place = f"{connection.host}:{connection.port}"
        raise NoAnswerError(f"{place}: no answer ({error or type(error).__name__})") from error
