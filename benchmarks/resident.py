"""Memory that a process holds, as Linux counts it."""

from __future__ import annotations

import threading
from pathlib import Path


def most_held() -> int:
    """Returns the most bytes that this process held at a time since `starting_anew`."""
    return _bytes("VmHWM")


def held() -> int:
    """Returns the bytes that this process holds now."""
    return _bytes("VmRSS")


def _bytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def starting_anew() -> None:
    """Begins `most_held` anew, at what is held now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


class MostAnonymous:
    """Within it the growth of memory that no file on the disk backs is noted, every 20 ms.

    Attributes:
        most: In bytes; what a full machine cannot take back from the process.
    """

    def __init__(self) -> None:
        self.most, self._before = 0, _bytes("RssAnon")
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MostAnonymous:
        """Begins."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Ends."""
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.most = max(self.most, _bytes("RssAnon") - self._before)
            if self._done.wait(0.02):
                return
