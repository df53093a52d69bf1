"""The error of bad input, which every command reports as one message with exit code 2."""

from __future__ import annotations


class InputError(Exception):
    """A fault of the input, not of the program.

    Its message names the file, line or flag, what was found and what was expected; a stack trace
    would hide it. Rooms derive their own errors from it, so that commands catch this one alone.
    """
