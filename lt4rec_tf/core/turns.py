"""Processes that need one folder take turns: those that come later wait until it is free."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from lt4rec_tf.core.artifacts import LOCK, RunError, locked

_POLL_SECONDS = 0.1
_LOCKS = Path("/proc/locks")  # of Linux


@contextlib.contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Locks a folder for this process; waits, and says so once, while another one holds it.

    The lock ends with its process, however that ends, so that nobody waits for a dead one.

    Args:
        folder: Made when absent.

    Raises:
        RunError: There can be no such folder, or its file system has no locks.
    """
    with contextlib.ExitStack() as held:
        begun_to_wait = False
        while not _is_taken(folder, held):
            if not begun_to_wait:
                print(f"{folder}: waiting until {_holder(folder)} is done", file=sys.stderr)
                sys.stderr.flush()
            begun_to_wait = True
            time.sleep(_POLL_SECONDS)
        yield


def _is_taken(folder: Path, held: contextlib.ExitStack) -> bool:
    """Locks a folder until a stack is left; False where another process holds it."""
    try:
        held.enter_context(locked(folder))
    except RunError as error:
        if isinstance(error.__cause__, BlockingIOError):
            return False
        raise
    return True


def _holder(folder: Path) -> str:
    """Names the process that holds a folder, as well as this machine knows it."""
    try:
        inode = (folder / LOCK).stat().st_ino
        lines = [line.split() for line in _LOCKS.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return "another process"

    # 1: FLOCK  ADVISORY  WRITE 4711 08:01:123456 0 EOF; one that waits has "->" behind "1:".
    for fields in lines:
        if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):
            return f"process {fields[4]}"
    return "another process"
