"""A folder that another process holds."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.support.paths import PROJECT

_HOLD = """
import sys
from pathlib import Path
from lt4rec_tf.core.turns import in_turn
with in_turn(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def held_by_another(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Yields a process that holds a folder until its standard input is closed, or it is killed."""
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield holder
        finally:
            holder.kill()


class Aside(threading.Thread):
    """Something that is done beside the test, and may wait."""

    def __init__(self, act: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._act = act
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Does it and keeps its error."""
        try:
            self._act()
        except BaseException as error:
            self.error = error

    def ended(self) -> None:
        """Waits for its end.

        Raises:
            AssertionError: It does not come.
        """
        self.join(30)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error


def until(holds: Callable[[], Any], seconds: float = 60) -> None:
    """Waits until something holds.

    Raises:
        AssertionError: It does not in time.
    """
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.02)
