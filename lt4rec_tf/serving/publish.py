"""Publishes a version that TensorFlow Serving picks up whole or not at all.

TensorFlow Serving polls a folder for children named by integers. A version is therefore written
under another name beside its final one, checked there with the loader that TensorFlow Serving
itself uses, and renamed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf import runs

TOLERANCE = 1e-6
_SERVE_TAG = "serve"


class PublishError(Exception):
    """A version was not published; the folder is as it was."""


def publish(
    module: tf.Module,
    signatures: Mapping[str, Any],
    base: Path,
    sample: Mapping[str, np.ndarray],
    expected: Mapping[str, Mapping[str, np.ndarray]],
) -> Path:
    """Writes, checks and publishes the next version.

    Args:
        module: What to save.
        signatures: Name -> concrete function.
        base: The model's folder; its versions are the children named by integers.
        sample: Raw features of some rows, by feature.
        expected: Signature -> output -> what the model answers for the sample.

    Returns:
        The version's folder, base / "<integer>".

    Raises:
        PublishError: The saved model answers otherwise than the model, or base is unusable.
    """
    base = Path(base)
    temporary = base / f".tmp-{uuid.uuid4().hex}"
    try:
        base.mkdir(parents=True, exist_ok=True)
        tf.saved_model.save(module, str(temporary), signatures=dict(signatures))
        check_answers(temporary, sample, expected)
        _flush(temporary)
        version = base / str(next_version(base))
        temporary.rename(version)
    except OSError as error:
        raise PublishError(f"{base}: cannot publish here ({error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return version


def published_versions(base: Path) -> list[Path]:
    """The versions in a model's folder, in their order."""
    found = [child for child in runs.folders(base) if child.name.isdecimal()]
    return sorted(found, key=lambda child: int(child.name))


def next_version(base: Path) -> int:
    """One above the highest version in a model's folder; 1 where there is none."""
    return max((int(child.name) for child in published_versions(base)), default=0) + 1


def session_answers(
    folder: Path, signature: str, inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Answers of a saved model by the session loader, the path of TensorFlow Serving.

    `tf.saved_model.load` takes another path and accepts models that TensorFlow Serving cannot
    load, so it proves nothing here.

    Args:
        folder: A version.
        signature: Its name.
        inputs: By input name.
    """
    # The loader is deprecated for Python programs; for the path that a server takes it is right.
    with (
        _without_warnings(),
        tf.Graph().as_default(),
        tf.compat.v1.Session() as session,
    ):
        loaded = tf.compat.v1.saved_model.loader.load(session, [_SERVE_TAG], str(folder))
        definition = loaded.signature_def[signature]
        fed = {definition.inputs[name].name: values for name, values in inputs.items()}
        fetched = {name: info.name for name, info in definition.outputs.items()}
        return session.run(fetched, fed)


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)


def check_answers(
    folder: Path,
    sample: Mapping[str, np.ndarray],
    expected: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
    """Compares every signature's answers with what the model answers.

    Raises:
        PublishError: Naming the signature, the output and the largest difference.
    """
    for signature, outputs in expected.items():
        answers = session_answers(folder, signature, sample)
        if set(answers) != set(outputs):
            raise PublishError(
                f"signature {signature}: outputs {sorted(answers)}, expected {sorted(outputs)}"
            )
        for name, values in outputs.items():
            difference = np.max(np.abs(answers[name] - values), initial=0.0)
            if not difference <= TOLERANCE:  # NaN is refused too
                raise PublishError(
                    f"signature {signature}, output {name}: differs from the model by {difference}"
                )


def _flush(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
