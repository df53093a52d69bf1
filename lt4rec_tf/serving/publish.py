"""Publishes versions that TensorFlow Serving loads whole or not at all.

TensorFlow Serving polls a folder for children named by integers. A version is therefore written
under another name beside its final one, checked there with the loader that TensorFlow Serving
itself uses, and renamed. An exporter that is killed leaves a folder that servers ignore; the next
exporter removes it.
"""

from __future__ import annotations

import contextlib
import shutil
import textwrap
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.core import artifacts
from lt4rec_tf.core.errors import InputError, naming_the_unwritable

TOLERANCE = 1e-6
KEPT_VERSIONS = (
    "0, which keeps all, or 2 or more: the version before must stay for a server that loads the "
    "new one, or cannot load it"
)
_SERVE_TAG = "serve"
_REASON_LENGTH = 600  # characters displayed of an error of TensorFlow's
_TEMPORARY = ".tmp-"  # no integer: no server takes it for a version

Arrays = Mapping[str, np.ndarray]


class PublishError(InputError):
    """A version was not published; no server sees any of it."""


@dataclass(frozen=True)
class OpenedVersion:
    """A saved model in a session, as TensorFlow Serving has it.

    Attributes:
        folder: Of the version; a temporary one while it is being published.
        signatures: Name -> SignatureDef, as clients see them.
        session: Holds its graph and variables.
    """

    folder: Path
    signatures: Mapping[str, Any]
    session: tf.compat.v1.Session

    def answers(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        """Returns a server's answer to one request.

        Args:
            signature: Its name.
            inputs: By input name: exactly the signature's inputs.

        Raises:
            PublishError: There is no such signature, it has other inputs, or the graph refuses
                their values.
        """
        where = f"signature {signature}"
        if signature not in self.signatures:
            raise PublishError(f"{where}: found none, expected one of {sorted(self.signatures)}")
        definition = self.signatures[signature]
        if set(inputs) != set(definition.inputs):
            raise PublishError(
                f"{where}: found inputs {sorted(inputs)}, expected {sorted(definition.inputs)}"
            )

        fed = {definition.inputs[name].name: values for name, values in inputs.items()}
        fetched = {name: info.name for name, info in definition.outputs.items()}
        try:
            return self.session.run(fetched, fed)
        except (tf.errors.OpError, ValueError) as error:
            raise PublishError(f"{where}: refuses its inputs ({_reason(error)})") from error


def publish(
    module: tf.Module,
    signatures: Mapping[str, Any],
    base: Path,
    sample: Mapping[str, Arrays],
    expected: Mapping[str, Arrays],
    *,
    extra: Callable[[OpenedVersion], Mapping[str, bytes]] | None = None,
    keep_versions: int = 0,
    tolerance: float = TOLERANCE,
) -> Path:
    """Writes, checks and publishes the next version.

    Args:
        module: What to save.
        signatures: Name -> concrete function.
        base: The model's folder; its versions are the children named by integers.
        sample: Signature -> input -> values of some rows.
        expected: Signature -> output -> the model's answers to the sample, float32.
        extra: Called with the checked version before it is published; returns the content of
            files to add, by path inside the version.
        keep_versions: Number of newest versions that are kept once the new one is published, as
            `check_keep_versions` takes it. A version that a server's configuration pins must be
            among them.
        tolerance: Largest difference between an answer and what is expected, as a share of an
            output's largest answer, or of 1 where all are smaller.

    Returns:
        The version's folder, base / "<integer>".

    Raises:
        PublishError: The saved model answers otherwise than the model, base is unusable, or
            another process publishes there.
        UnwritableError: The disk is full, or a permission is missing.
    """
    _refuse_unchecked(signatures, sample, expected)
    check_keep_versions(keep_versions)
    base = Path(base)

    with _sole_exporter(base):
        temporary = _temporary(base)
        try:
            with naming_the_unwritable(base):
                tf.saved_model.save(module, str(temporary), signatures=dict(signatures))
            with opened(temporary) as saved:
                check_answers(saved, sample, expected, tolerance)
                files = extra(saved) if extra else {}
            with naming_the_unwritable(base):
                _write_files(temporary, files)
                version = _put_in_place(temporary, base)
        except OSError as error:
            raise PublishError(f"{base}: cannot publish here ({error})") from error
        except tf.errors.OpError as error:
            raise PublishError(f"{base}: cannot save the model ({_reason(error)})") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

        if keep_versions:
            _remove(published_versions(base)[:-keep_versions], version)
    return version


def check_keep_versions(keep_versions: int) -> None:
    """Refuses a number of versions to keep that would leave a server the new one alone.

    Args:
        keep_versions: 0 keeps all.

    Raises:
        PublishError: It is negative or 1.
    """
    if keep_versions < 0 or keep_versions == 1:
        raise PublishError(f"keep_versions: found {keep_versions}, expected {KEPT_VERSIONS}")


def published_versions(base: Path) -> list[Path]:
    """Returns the versions in a model's folder, in increasing order."""
    versions = [
        child
        for child in artifacts.folders(base)
        if child.name.isascii() and child.name.isdecimal()
    ]
    return sorted(versions, key=lambda child: int(child.name))


def next_version(base: Path) -> int:
    """Returns the highest version in a model's folder plus 1; 1 where there is none."""
    return max((int(child.name) for child in published_versions(base)), default=0) + 1


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[OpenedVersion]:
    """Opens a saved model by the session loader, the path of TensorFlow Serving.

    `tf.saved_model.load` uses other code and accepts models that TensorFlow Serving cannot load.

    Args:
        folder: A version.

    Raises:
        PublishError: A server cannot load it.
    """
    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph)
    try:
        # Deprecated for Python programs, but it is the code that a server uses.
        with (
            _without_warnings(),
            graph.as_default(),
            artifacts.literal_path(Path(folder)) as literal,
        ):
            loaded = tf.compat.v1.saved_model.loader.load(session, [_SERVE_TAG], str(literal))
    except (OSError, RuntimeError, ValueError, tf.errors.OpError) as error:
        session.close()
        raise PublishError(f"{folder}: no server can load it ({_reason(error)})") from error

    try:
        definitions = loaded.signature_def.items()
        # Names that begin with underscores are TensorFlow's own, such as the initialiser's.
        visible = {
            name: definition for name, definition in definitions if not name.startswith("__")
        }
        yield OpenedVersion(Path(folder), visible, session)
    finally:
        session.close()


def _reason(error: Exception) -> str:
    return textwrap.shorten(getattr(error, "message", str(error)), _REASON_LENGTH)


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
    version: OpenedVersion,
    sample: Mapping[str, Arrays],
    expected: Mapping[str, Arrays],
    tolerance: float = TOLERANCE,
) -> None:
    """Compares every signature's answers with the model's; see `publish`.

    Raises:
        PublishError: Naming the signature, the output and the largest difference.
    """
    for signature, outputs in expected.items():
        answers = version.answers(signature, sample[signature])
        if set(answers) != set(outputs):
            raise PublishError(
                f"signature {signature}: outputs {sorted(answers)}, expected {sorted(outputs)}"
            )
        for name, values in outputs.items():
            _check_output(f"signature {signature}, output {name}", answers[name], values, tolerance)


def _check_output(where: str, answer: np.ndarray, values: np.ndarray, tolerance: float) -> None:
    # A server cannot write the other floating point types as JSON.
    if answer.dtype != np.float32 or answer.shape != np.shape(values):
        raise PublishError(
            f"{where}: found {answer.dtype} {answer.shape}, expected float32 {np.shape(values)}"
        )
    with np.errstate(invalid="ignore"):
        # Relative to the largest: an amount near 0 is a difference of numbers of that size.
        largest = np.max(np.abs(values), initial=1.0)
        difference = np.max(np.abs(answer - values), initial=0.0) / largest
    if not difference <= tolerance:  # NaN is refused too
        raise PublishError(f"{where}: differs from the model by {difference}")


def _refuse_unchecked(*by_signature: Mapping[str, Any]) -> None:
    signatures, sample, expected = (sorted(names) for names in by_signature)
    if not signatures == sample == expected:
        raise PublishError(
            f"signatures {signatures}: found inputs for {sample} and answers for {expected}, "
            "expected both for each"
        )


@contextlib.contextmanager
def _sole_exporter(base: Path) -> Iterator[None]:
    """Locks a model's folder and removes the temporary folders of killed exporters."""
    with contextlib.ExitStack() as stack:
        try:
            base.mkdir(parents=True, exist_ok=True)
            stack.enter_context(artifacts.locked(base))
        except OSError as error:
            raise PublishError(f"{base}: cannot publish here ({error})") from error
        except artifacts.RunError as error:
            raise PublishError(f"{base}: another process publishes here") from error
        for leftover in base.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


def _temporary(base: Path) -> Path:
    return base / f"{_TEMPORARY}{uuid.uuid4().hex}"


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        if path.exists() or not path.resolve().is_relative_to(folder.resolve()):
            raise PublishError(f"extra file {name!r}: expected a new path inside the version")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _put_in_place(temporary: Path, base: Path) -> Path:
    artifacts.folder_to_disk(temporary)
    version = base / str(next_version(base))
    temporary.rename(version)
    artifacts.to_disk(base)
    return version


def _remove(versions: list[Path], published: Path) -> None:
    for old in versions:
        try:
            # Renamed first: a server must never see half a version.
            leftover = old.rename(_temporary(old.parent))
            shutil.rmtree(leftover)
        except OSError as error:
            raise PublishError(
                f"{published} is published, but {old} cannot be removed ({error})"
            ) from error
