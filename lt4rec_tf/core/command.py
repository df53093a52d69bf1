"""Process settings and exit codes that all commands share."""

from __future__ import annotations

import contextlib
import gc
import os
import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

from lt4rec_tf.core.errors import InputError, as_unwritable, naming_the_unwritable
from lt4rec_tf.core.start_lines import compute_once, import_tensorflow

BROKEN_PIPE = 141  # as shells have it: 128 and the number of SIGPIPE


def before_tensorflow() -> None:
    """Imports TensorFlow for a command: quietly, without Keras 3, with rare garbage collection.

    TensorFlow loads the Keras that `tf.keras` stands for. By default that is Keras 3, which also
    loads Matplotlib and scikit-learn and takes more than a second of every start. With
    TF_USE_LEGACY_KERAS it is tf_keras, which is loaded anyway. Variables that the environment has
    already are left as they are.

    TensorFlow's import and its graphs make millions of objects that stay. Python's garbage
    collector would visit them again for every 700 new ones: a sixth of a short command's time.

    Only commands call this: a program that imports this package may use `tf.keras` for itself.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    gc.set_threshold(50_000, 20, 20)
    import_tensorflow()


def exit_on_error(
    main: Callable[[Sequence[str]], None],
    argv: Sequence[str],
    expected: tuple[type[Exception], ...] = (InputError,),
    resumes: str = "from the last checkpoint",
) -> int:
    """Runs a command and turns an expected error into one message and exit code 2.

    A full disk, and a missing permission, are expected wherever they are met.

    Args:
        main: The command.
        argv: Its arguments, the program's name first.
        expected: Errors whose message is all that a user needs.
        resumes: Where the same command continues after an interrupt; "": it starts anew.

    Returns:
        The exit code: 0, 2 after an expected error, 130 after an interrupt, 141 where what read the
        output has ended.
    """
    try:
        main(argv)
        with naming_the_unwritable(Path("standard output")):
            sys.stdout.flush()
    except BrokenPipeError:
        # What read the output has ended, as `head` does; Python must not try to write the rest.
        discard(sys.stdout)
        return BROKEN_PIPE
    except Exception as error:
        message = _message(error, expected)
        if message is None:
            raise
        with contextlib.suppress(OSError):  # where standard error cannot be written either
            print(f"error: {message}", file=sys.stderr)
        _drop_stuck_output()
        return 2
    except KeyboardInterrupt:
        if resumes:
            print(f"stopped; the same command goes on {resumes}", file=sys.stderr)
        return 130
    return 0


def _message(error: Exception, expected: tuple[type[Exception], ...]) -> str | None:
    """Returns all that a user needs to know of an error; None where a stack trace says more."""
    if isinstance(error, InputError):
        return str(error)
    unwritable = as_unwritable(error)
    if unwritable is None:
        return str(error) if isinstance(error, expected) else None
    return str(unwritable)


def _drop_stuck_output() -> None:
    """Drops what standard output and error hold but cannot write.

    Python would try again when the process ends, and end it with another error.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            discard(stream)


def discard(stream: TextIO) -> None:
    """Drops what a stream holds and cannot write, and all that it is given later."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
    stream.flush()


def run(main: Callable[[Sequence[str]], None], **how: Any) -> NoReturn:
    """Runs a command with the arguments of this process, and ends the process.

    Args:
        main: The command.
        how: Further arguments of `exit_on_error`.
    """
    # A cluster is set up before anything is computed; a command may have no need of TensorFlow.
    if "TF_CONFIG" not in os.environ and "tensorflow" in sys.modules:
        compute_once()
    sys.exit(exit_on_error(main, sys.argv, **how))


def run_module(name: str, argv: Sequence[str]) -> None:
    """Runs a module as `python -m` does, in this process, with other arguments.

    Args:
        name: Of the module.
        argv: What the program is called, and its arguments.
    """
    sys.argv = list(argv)
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def make_deterministic() -> None:
    """Makes results of the same command equal on the same machine."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    # Determinism requires a seed; the draws of this project have seeds of their own.
    tf.random.set_seed(0)


def prepare_tensorflow(threads: int) -> None:
    """Prepares a process that another starts: quiet, deterministic, with few threads.

    Args:
        threads: Of TensorFlow's pools, 1 or more.
    """
    before_tensorflow()
    set_threads(threads, threads)
    make_deterministic()


def set_threads(within: int, between: int) -> None:
    """Imports TensorFlow, if it is not, and limits its threads in this process.

    Args:
        within: Threads of one operation.
        between: Operations that run side by side.
    """
    import_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(within)
    tf.config.threading.set_inter_op_parallelism_threads(between)
    compute_once()
