"""TensorFlow Serving's REST routes; the standard library alone."""

from __future__ import annotations

import base64
import http.client
import json
import math
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import tf_example
from errors import RefusedError, shown
from http_connection import Connection
from request import Request
from signature import Signature

OK = "200"
MOST_TEXT = 2000  # characters of a server's message


@dataclass
class Model:
    """A model on a server, over one connection; for one thread at a time.

    Args:
        url: Of the server, "http://host:8501"; a path in it is kept.
        name: Of the model.
        version: A version's number; "": the highest that is available.
        label: A version's label instead.
        timeout: Seconds that a whole answer may take.
        headers: Sent with every request.
    """

    url: str
    name: str
    version: str = ""
    label: str = ""
    timeout: float = 30.0
    headers: Mapping[str, str] = field(default_factory=dict)
    connection: Connection = field(init=False, repr=False)

    ok: ClassVar[str] = OK  # the status of answers

    def __post_init__(self) -> None:
        self.connection = Connection(self.url, self.timeout)

    def path(self, route: str = "") -> str:
        """Returns the path of a route: ":predict", ":regress", "/metadata", or the status."""
        prefix = urllib.parse.urlsplit(self.url).path.rstrip("/")
        version = f"/versions/{self.version}" if self.version else ""
        label = f"/labels/{urllib.parse.quote(self.label, safe='')}" if self.label else ""
        name = urllib.parse.quote(self.name, safe="")
        return f"{prefix}/v1/models/{name}{version or label}{route}"

    def signatures(self) -> Any:
        """Returns the model's signature definitions by name, as the server lists them.

        Raises:
            NoAnswerError: No server, or not in time.
            RefusedError: The server has no such model, or not yet, or is none of this kind.
        """
        answer = parse(*self._exchange("GET", self.path("/metadata")))
        try:
            return answer["metadata"]["signature_def"]["signature_def"]
        except (KeyError, TypeError, IndexError) as error:
            message = f"{self.url}: is no TensorFlow Serving: {shown(answer)}"
            raise RefusedError(message, OK) from error

    def call(self, signature: Signature, request: Request) -> tuple[str, bytes]:
        """Returns the path and the body of a request, for `send`."""
        verb = ":regress" if signature.kind == "regress" else ":predict"
        return self.path(verb), body(signature, request)

    def send(self, call: tuple[str, bytes]) -> tuple[str, bytes]:
        """Sends a call and returns where it went and its answer, for `read`.

        Raises:
            NoAnswerError: No server, no whole answer, or not in time.
            RefusedError: Another status than 200.
        """
        path, content = call
        return self._exchange("POST", path, content)

    def read(
        self, signature: Signature, request: Request, answer: tuple[str, bytes]
    ) -> dict[str, Any]:
        """Returns the outputs in an answer by name; their values are for `answers.check`.

        Raises:
            RefusedError: No JSON, or without the key of the answers.
        """
        place, _ = answer
        read = parse(*answer)
        key = "results" if signature.kind == "regress" else "outputs"
        if not isinstance(read, dict) or key not in read:
            raise RefusedError(f"{place}: found {shown(read)}, expected an object with {key}", OK)

        outputs = read[key]
        if len(signature.outputs) == 1:
            return {signature.outputs[0].name: outputs}
        if not isinstance(outputs, dict):
            expected = ", ".join(output.name for output in signature.outputs)
            raise RefusedError(
                f"{place}: {key}: found {shown(outputs)}, expected an object of {expected}", OK
            )
        return outputs

    def close(self) -> None:
        """Ends the connection."""
        self.connection.close()

    def _exchange(self, method: str, path: str, content: bytes | None = None) -> tuple[str, bytes]:
        status, answer = self.connection.exchange(method, path, content, self.headers)
        place = f"{method} {urllib.parse.urlsplit(self.url).netloc}{path}"
        if status == http.client.OK:
            return place, answer

        try:
            read = parse(place, answer)
            message = read.get("error", read) if isinstance(read, dict) else read
        except RefusedError:
            message = f"and no JSON: {shown(answer)}"
        text = message if isinstance(message, str) else shown(message)
        raise RefusedError(f"{place}: {status}: {text[:MOST_TEXT]}", str(status))


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


def parse(place: str, answer: bytes) -> Any:
    """Parses JSON; the server copies bytes that are not UTF-8 from requests and strings."""
    try:
        return json.loads(answer.decode("utf-8", "replace"), parse_float=_decimal)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"{place}: {OK}, and no JSON: {shown(answer)} ({error})", OK) from error


def _decimal(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{shown(text)} is beyond a double")
    return number
