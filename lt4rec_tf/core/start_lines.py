"""Keeps off the terminal what TensorFlow says at every start; all else that it says is kept."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

_ALWAYS_SAID = (
    b"All log messages before absl::InitializeLog() is called",
    b"oneDNN custom operations are on",
    b"Could not find cuda drivers on your machine",
    b"oneDNN supports DT_INT64 only on platforms with AVX-512",
)
# Said too where there is no GPU; where there is one, it is an error that must be seen.
_SAID_WITHOUT_GPU = (b"failed call to cuInit",)
_NVIDIA_DEVICES = Path("/dev")


def import_tensorflow() -> None:
    """Imports TensorFlow and looks for GPUs, without what it says of that at every start."""
    with without_start_lines():
        import tensorflow as tf

        tf.config.list_physical_devices()


def compute_once() -> None:
    """Computes something small, without what TensorFlow says at its first operation of a kind.

    After it threads and clusters can no longer be set up.
    """
    with without_start_lines():
        import tensorflow as tf

        turned = tf.function(tf.transpose, autograph=False)
        turned(tf.zeros((2, 3), tf.int64))


@contextlib.contextmanager
def without_start_lines() -> Iterator[None]:
    """Holds back standard error while the block runs, then writes it without start-up lines.

    TensorFlow writes them to the file descriptor, past Python, some of them whatever
    TF_CPP_MIN_LOG_LEVEL says. Whoever sets that to 0 or 1 sees them all.
    """
    try:
        shown = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    try:
        if os.environ.get("TF_CPP_MIN_LOG_LEVEL") in ("0", "1"):
            yield
            return
        with tempfile.TemporaryFile() as held:
            sys.stderr.flush()
            os.dup2(held.fileno(), 2)
            tells_crashes = not faulthandler.is_enabled()
            if tells_crashes:
                faulthandler.enable(shown)
            try:
                yield
            finally:
                if tells_crashes:
                    faulthandler.disable()
                sys.stderr.flush()
                os.dup2(shown, 2)
                held.seek(0)
                with contextlib.suppress(OSError):  # nobody reads standard error
                    os.write(2, without_known(held.read()))
    finally:
        os.close(shown)


def without_known(said: bytes) -> bytes:
    r"""Returns what TensorFlow said without the lines that it says at every start.

    >>> without_known(b"I0000 port.cc:153] oneDNN custom operations are on. You\nE0000 bad\n")
    b'E0000 bad\n'
    """
    without_gpu = not any(_NVIDIA_DEVICES.glob("nvidia*"))
    known = _ALWAYS_SAID + (_SAID_WITHOUT_GPU if without_gpu else ())
    lines = said.splitlines(keepends=True)
    return b"".join(line for line in lines if not any(text in line for text in known))
