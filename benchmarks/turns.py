"""Models in processes of their own that take turns: one trains while the others wait.

A model's process prints "ready" when it is warm. For every line on its standard input it then
trains one round of steps and prints their seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

PACKAGES = ("tensorflow", "tf_keras", "deepctr", "torch", "torch-rechub")
Key = TypeVar("Key", bound=Hashable)


def seconds_of_rounds(
    commands: Mapping[Key, Sequence[str]],
    rounds: int,
    environment: Mapping[str, str] | None = None,
) -> dict[Key, list[float]]:
    """Starts a process of each model, lets them take turns, ends them.

    Args:
        commands: By model, what starts it.
        rounds: Turns of each.
        environment: More variables of the processes' environment.

    Returns:
        By model, seconds of each of its rounds.
    """
    processes: dict[Key, subprocess.Popen] = {}
    try:
        for model, command in commands.items():
            processes[model] = _started(model, command, environment or {})
        seconds: dict[Key, list[float]] = {model: [] for model in commands}
        for _ in range(rounds):
            for model, process in processes.items():
                process.stdin.write("\n")
                process.stdin.flush()
                seconds[model].append(float(process.stdout.readline()))
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    return seconds


def _started(
    model: Hashable, command: Sequence[str], environment: Mapping[str, str]
) -> subprocess.Popen:
    """Starts a model and waits until it is warm."""
    process = subprocess.Popen(
        command,
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if process.stdout.readline().strip() != "ready":
        _, errors = process.communicate()
        sys.exit(f"{model}: found no start, its last words are\n{errors[-2000:]}")
    return process


def answer(built: Callable[[], Callable[[int], None]], warm_up: int, steps: int) -> None:
    """Is a model's process: builds it, warms it up, trains once per line of standard input.

    Args:
        built: Builds the model; returns what trains it some steps.
        warm_up: Steps before the first round.
        steps: Of a round.
    """
    answers, sys.stdout = sys.stdout, sys.stderr  # peers print too
    train = built()
    train(warm_up)
    print("ready", file=answers, flush=True)
    for _ in sys.stdin:
        begun = time.perf_counter()
        train(steps)
        print(time.perf_counter() - begun, file=answers, flush=True)


def conditions(batch: int, rounds: int, steps: int) -> str:
    """Returns the packages' versions and a measurement's sizes, two lines."""
    versions = ", ".join(f"{name} {installed(name)}" for name in PACKAGES)
    return f"{versions}\n{os.cpu_count()} cores, batch {batch}, {rounds} rounds of {steps}\n"


def installed(name: str) -> str:
    """Returns a package's version."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
