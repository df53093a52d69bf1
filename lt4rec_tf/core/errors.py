"""The error of bad input, which every command reports as one message with exit code 2."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_TEXTS = tuple(os.strerror(code) for code in _FULL)  # as TensorFlow's errors quote them


class InputError(Exception):
    """A fault of the input, not of the program.

    Its message names the file, line or flag, what was found and what was expected; a stack trace
    would hide it. Rooms derive their own errors from it, so that commands catch this one alone.
    """


class UnfitError(InputError, ValueError):
    """Settings that do not fit each other, or not the tasks; a program may catch a ValueError."""


class DiskFullError(InputError):
    """A file cannot be written, because its disk or the user's share of it is full."""


def is_disk_full(error: BaseException) -> bool:
    """Tells if an error of Python or of TensorFlow says that a disk is full.

    >>> is_disk_full(OSError(errno.ENOSPC, "No space left on device"))
    True
    """
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(text in str(error) for text in _FULL_TEXTS)


@contextlib.contextmanager
def naming_a_full_disk(path: Path) -> Iterator[None]:
    """Names what was being written where the disk is full, which Python's own error may not.

    Args:
        path: What the block writes.

    Raises:
        DiskFullError: The block fails because a disk is full.
    """
    try:
        yield
    except DiskFullError:
        raise
    except Exception as error:
        if not is_disk_full(error):
            raise
        raise DiskFullError(
            f"{path}: cannot be written: the disk is full; free some space and start the same "
            "command again"
        ) from error
