"""A model's folder as TensorFlow Serving keeps it: versions come, serve and go."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lt4rec_tf.serving.development_server.loaded_version import LoadedVersion
from lt4rec_tf.serving.development_server.protocol import ServingError, invalid


@dataclass(frozen=True)
class VersionState:
    """START, LOADING, AVAILABLE or END, and why a version ended."""

    state: str
    code: str = "OK"
    message: str = ""
    loaded: LoadedVersion | None = None


class VersionedModel:
    """The versions of one model; `poll` is called by one thread, the rest by any.

    Args:
        name: In addresses.
        base: Its children named by integers are its versions.
        labels: Label -> version.
        keep: How many of the highest versions are served.
        say: Called with a version, its state and why it ended, whenever that changes.
    """

    def __init__(
        self,
        name: str,
        base: Path,
        labels: Mapping[str, int],
        keep: int,
        say: Callable[[int, str, str], None] = lambda *_: None,
    ) -> None:
        self._name, self._base, self._labels, self._keep = name, base, labels, keep
        self._say = say
        self._states: dict[int, VersionState] = {}
        self._lock = threading.Lock()

    def poll(self) -> None:
        """Loads what is new, then unloads what is old: a model that serves goes on serving."""
        wanted = self._wanted()
        for number, folder in wanted.items():
            known = self._states.get(number)
            # What ended in error is left; what was only unloaded is served again.
            if known is None or (known.state == "END" and known.code == "OK"):
                self._set(number, VersionState("LOADING"))
                self._set(number, _load(folder))
        serves = any(self._states[number].state == "AVAILABLE" for number in wanted)
        for number, known in list(self._states.items()):
            if known.state == "AVAILABLE" and number not in wanted and (serves or not wanted):
                self._set(number, VersionState("END"))

    def _wanted(self) -> dict[int, Path]:
        found = {}
        with contextlib.suppress(FileNotFoundError):
            for child in self._base.iterdir():
                with contextlib.suppress(ValueError):
                    found[int(child.name)] = child
        highest = sorted((number for number in found if number >= 0), reverse=True)
        return {number: found[number] for number in highest[: self._keep]}

    def _set(self, number: int, state: VersionState) -> None:
        with self._lock:
            self._states[number] = state
        self._say(number, state.state, state.message)

    def find(self, version: int | None, label: str | None) -> tuple[int, LoadedVersion]:
        """A version that serves: the one asked for, or the highest."""
        if label is not None:
            if label not in self._labels:
                raise invalid(f"Unrecognized servable version label: {label}")
            version = self._labels[label]
        with self._lock:
            serving = {
                number: known.loaded for number, known in self._states.items() if known.loaded
            }
        number = max(serving, default=None) if version is None else version
        if number not in serving:
            asked = "Latest({})" if version is None else "Specific({}, {})"
            asked = asked.format(self._name, version)
            raise ServingError("NOT_FOUND", f"Servable not found for request: {asked}")
        return number, serving[number]

    def status(self, version: int | None) -> list[dict[str, Any]]:
        """Of one version or of all there ever were, newest first."""
        with self._lock:
            states = dict(self._states)
        if version is not None and version not in states:
            raise ServingError(
                "NOT_FOUND", f"Could not find version {version} of model {self._name}"
            )
        if not states:
            raise ServingError("NOT_FOUND", f"Could not find any versions of model {self._name}")
        return [
            {
                "version": str(number),
                "state": known.state,
                "status": {"error_code": known.code, "error_message": known.message},
            }
            for number, known in sorted(states.items(), reverse=True)
            if version in (None, number)
        ]


def _load(folder: Path) -> VersionState:
    try:
        return VersionState("AVAILABLE", loaded=LoadedVersion(folder))
    except ServingError as error:
        return VersionState("END", error.code, error.message)
