"""What ends the scripts of this folder early, with the exit code of each."""

from __future__ import annotations

import contextlib
import os
import reprlib
import sys
from collections.abc import Iterator
from typing import Any

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 200
_SHORT.maxdict = _SHORT.maxlist = 6


class ScriptError(Exception):
    """Ends a script with a message and a code."""

    exit_code = 1


class RefusedError(ScriptError):
    """The server answered with an error, or with what is no answer to the request.

    Args:
        message: What was found, and what was expected.
        status: The status of the answer.
    """

    exit_code = 1

    def __init__(self, message: str, status: str = "") -> None:
        super().__init__(message)
        self.status = status


class InputError(ScriptError):
    """A flag, a CSV, a signature for it or the output cannot be used."""

    exit_code = 2


class NoAnswerError(ScriptError):
    """Nothing came back: no server there, no whole answer, or not in time."""

    exit_code = 3


class StoppedError(ScriptError):
    """The server refuses one request after the other."""

    exit_code = 4


class ReaderGoneError(ScriptError):
    """Who reads the output has read enough: `| head`."""

    exit_code = 0


def shown(value: Any) -> str:
    """Returns the text of a value of any size, cut short.

    >>> shown([0] * 1000)
    '[0, 0, 0, 0, 0, 0, ...]'
    """
    return _SHORT.repr(value)


def say(message: object, kind: str = "error") -> None:
    """Prints an error, unless standard error is closed or full."""
    text = f"{kind}: {message}".encode("utf-8", "backslashreplace").decode("utf-8")
    try:
        if sys.stderr is not None:
            print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        _discard(sys.stderr)


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Turns a failed write to standard output into an InputError.

    Raises:
        ReaderGoneError: Standard output is a pipe that nobody reads any more.
        InputError: Standard output is closed, full, or cannot encode a text.
    """
    try:
        if sys.stdout is None:
            raise OSError("standard output is closed")
        yield
        sys.stdout.flush()
    except BrokenPipeError as error:
        _discard(sys.stdout)
        raise ReaderGoneError from error
    except (OSError, ValueError) as error:
        _discard(sys.stdout)
        raise InputError(f"output: cannot be written ({error})") from error


def _discard(stream: Any) -> None:
    """Sends what is still buffered nowhere: Python would try to write it again when it ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
