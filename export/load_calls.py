"""The requests that a load test sends."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import answers
import rest
from errors import InputError
from made_up import make_up
from request import Request, make_requests
from script_flags import read_flags
from signature import Signature, read_signature

MOST_CALLS = 10_000
MADE_CALLS, MADE_ROWS = 100, 20_000  # of made-up requests, whichever is less


def read_calls(flags: argparse.Namespace, model: Any) -> tuple[list[Any], Callable[[Any], object]]:
    """Returns the model's calls, sent in turn, and a check of the first one's answer.

    Raises:
        InputError: The file cannot be used.
        RefusedError: The server does not know the model, whose metadata all but a file's requests
            need.
        NoAnswerError: No server.
    """
    calls, check = _of_json(flags, model) if flags.requests else _of_signature(flags, model)
    if not calls:
        raise InputError(f"{flags.csv or flags.requests}: found no request")
    return calls, check


def _of_signature(
    flags: argparse.Namespace, model: Any
) -> tuple[list[Any], Callable[[Any], object]]:
    signature = read_signature(model.signatures(), flags.signature)
    requests = _of_csv(flags, signature) if flags.csv else _made_up(flags, signature)

    def check(answer: Any) -> None:
        answers.check(signature, requests[0], model.read(signature, requests[0], answer))

    return [model.call(signature, request) for request in requests], check


def _of_csv(flags: argparse.Namespace, signature: Signature) -> Sequence[Request]:
    made = make_requests(signature, read_flags(flags), flags.batch_size, flags.request_column)
    return list(itertools.islice(made, MOST_CALLS))


def _made_up(flags: argparse.Namespace, signature: Signature) -> Sequence[Request]:
    """Makes up several requests, so that not the same rows of a table are read each time."""
    if flags.candidates and signature.kind != "candidates":
        raise InputError(
            f"--candidates: found with signature {signature.name}, which scores no candidates"
        )
    sizes = flags.candidates or (flags.batch_size,)
    count = max(len(sizes), min(MADE_CALLS, MADE_ROWS // max(sizes)))
    return list(itertools.islice(make_up(signature, sizes, flags.list_width), count))


def _of_json(flags: argparse.Namespace, model: Any) -> tuple[list[Any], Callable[[Any], object]]:
    """Reads bodies, whose signature is not known: their answers need but be JSON."""
    try:
        content = json.loads(flags.requests.read_text(encoding="utf-8"))
        bodies = content if isinstance(content, list) else [content]
        encoded = [rest.encode(body) for body in bodies]
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{flags.requests}: cannot be read as JSON ({error})") from error

    if not all(isinstance(body, dict) for body in bodies):
        raise InputError(f"{flags.requests}: expected an object, or a list of objects")
    regress = {"examples" in body for body in bodies}
    if len(regress) > 1:
        raise InputError(f"{flags.requests}: found predict and regress requests together")

    path = model.path(":regress" if True in regress else ":predict")
    return [(path, body) for body in encoded], lambda answer: rest.parse(*answer)
