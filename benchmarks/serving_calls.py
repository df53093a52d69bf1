"""Requests to versions in this process, by the session loader, and how models take turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from lt4rec_tf.serving.publish import OpenedVersion

TURN = 4  # requests that are timed before it is the next model's turn


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
