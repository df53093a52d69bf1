"""What every command does before and after its own work: process settings, exit codes."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from lt4rec_tf.core.errors import InputError


def before_tensorflow() -> None:
    """Readies a command's process: a quiet TensorFlow, without Keras 3, and a calm collector.

    TensorFlow loads the Keras that `tf.keras` stands for. By default that is Keras 3, with
    Matplotlib and scikit-learn behind it, and more than a second of every start; by
    TF_USE_LEGACY_KERAS it is tf_keras, which is loaded anyway. What the environment says already
    stays.

    TensorFlow's import and its graphs are millions of objects that live on, which Python's
    garbage collector would go through again and again for every 700 new ones: a sixth of a short
    command's time.

    Commands alone ask for this: a program that imports this package may use `tf.keras` for itself.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    gc.set_threshold(50_000, 20, 20)


def exit_on_error(
    main: Callable[[Sequence[str]], None],
    argv: Sequence[str],
    expected: tuple[type[Exception], ...] = (InputError,),
    resumes: str = "from the last checkpoint",
) -> int:
    """Runs a command; an expected error becomes one message and exit code 2.

    Args:
        main: The command.
        argv: Its arguments, the program's name first.
        expected: Errors whose message says all that a user needs.
        resumes: Where the same command continues after an interrupt; "": it starts anew.

    Returns:
        The exit code: 0, 2 after an expected error, 130 after an interrupt.
    """
    try:
        main(argv)
    except expected as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if resumes:
            print(f"stopped; the same command goes on {resumes}", file=sys.stderr)
        return 130
    return 0


def run(main: Callable[[Sequence[str]], None]) -> NoReturn:
    """Runs a command with the arguments of this process, and ends the process."""
    sys.exit(exit_on_error(main, sys.argv))


def make_deterministic() -> None:
    """Makes the same command give the same numbers on the same machine."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    # Determinism asks for a seed; the draws of this project have seeds of their own.
    tf.random.set_seed(0)


def prepare_tensorflow(threads: int) -> None:
    """Readies a process that others begin: quiet, deterministic, with its own few threads.

    Args:
        threads: Of TensorFlow's pools, 1 or more.
    """
    before_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    make_deterministic()
