"""The error of bad input, which every command reports as one message with exit code 2."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

_SHOWN = 300  # characters of another program's error
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ACCESS = "change that, or name another folder"
# Of a file or folder that comes into place when it is whole; users know the name in the group.
_TEMPORARY = re.compile(r"\.([^/]+)\.[0-9a-f]{32}\.tmp")
_NO_TEMPORARY = "No usable temporary directory"  # Python's words where all of them are full
# What is missing, and what to do.
_REASONS = {
    errno.ENOSPC: ("the disk is full", "free some space"),
    errno.EDQUOT: ("this user's share of the disk (quota) is full", "free some space"),
    errno.EFBIG: ("it is larger than a file may be here (ulimit -f)", "raise the limit"),
    errno.EROFS: ("its file system is read-only", _ACCESS),
    errno.EACCES: ("this user has no permission", _ACCESS),
    errno.EPERM: ("this user has no permission", _ACCESS),
    errno.EISDIR: ("a folder has its name", "rename or remove that"),
    errno.ENOTDIR: ("a file has the name of a folder above it", "rename or remove that"),
    errno.ENAMETOOLONG: ("a name of it is longer than names may be here", "take a shorter one"),
    errno.EIO: ("its disk failed (input/output error)", "mend the disk"),
    errno.ESTALE: ("its network disk lost it (stale file handle)", "mount the disk anew"),
}


class InputError(Exception):
    """A fault of the input, not of the program.

    Its message names the file, line or flag, what was found and what was expected; a stack trace
    would hide it. Rooms derive their own errors from it, so that commands catch this one alone.
    """


class UnfitError(InputError, ValueError):
    """Settings that do not fit each other, or not the tasks; a program may catch a ValueError."""


class UnwritableError(InputError):
    """The machine does not write a file: a full or failing disk, a limit, a permission."""


def as_unwritable(error: BaseException, path: Path | None = None) -> UnwritableError | None:
    """Says in words why the machine refuses a file, where an error is of that kind.

    Args:
        error: Of Python or of TensorFlow.
        path: What was being written; None: what the error itself names.

    Returns:
        The error to raise in its place; None where it is of another kind.

    >>> print(as_unwritable(OSError(errno.ENOSPC, "No space left on device"), Path("a.csv")))
    a.csv: cannot be written: the disk is full; free some space and start the same command again
    """
    reason = _reason(error)
    if reason is None:
        return None

    missing, remedy = reason
    named = getattr(error, "filename", None)
    if path is not None:
        what = f"{path}: cannot be written: {missing}"
    elif named is not None:
        what = f"{named}: {missing}"  # which may have been read, too
    else:
        quoted = textwrap.shorten(str(error), _SHOWN, placeholder=" ...")
        what = f"cannot write a file, or the output: {missing} ({quoted})"
    message = f"{what}; {remedy} and start the same command again"
    return UnwritableError(_TEMPORARY.sub(r"\1", message))


def _reason(error: BaseException) -> tuple[str, str] | None:
    """Returns what is missing, and what to do; TensorFlow's errors only quote the text of it."""
    if isinstance(error, OSError) and error.errno in _REASONS:
        return _REASONS[error.errno]
    if isinstance(error, FileNotFoundError) and _NO_TEMPORARY in str(error):
        return "no folder takes temporary files", "free some space, or set TMPDIR,"
    if isinstance(error, OSError) and error.errno is not None:
        return None

    # The other texts may stand in messages that have nothing to do with files of this machine.
    of_files = isinstance(error, OSError) or type(error).__module__.startswith("tensorflow.")
    for code in _REASONS if of_files else _FULL:
        if os.strerror(code) in str(error):
            return _REASONS[code]
    return None


@contextlib.contextmanager
def naming_the_unwritable(path: Path) -> Iterator[None]:
    """Names what was being written where the machine refuses it, which Python's error may not.

    Args:
        path: What the block writes.

    Raises:
        UnwritableError: The block fails by a disk that is full or fails, or a missing permission.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        unwritable = as_unwritable(error, path)
        if unwritable is None:
            raise
        raise unwritable from error
