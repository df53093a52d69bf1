"""Files and folders that are written atomically, so that no kill and no power cut leaves a half.

    <output_dir>/<name>-<fingerprint>/seed_<n>/
        config.json  data.json  quarantine.tsv  evaluation.json
        initial/                         theta_0, the weights every stage starts from
        tables/                          the search for a ticket of the embedding tables, if any
        tickets/<task>/level_<k>/        one training of Algorithm 1: masks, weights, validation
        rows/<model>/                    a network of the comparison (hard_sharing, s_weight)
        saved_model/<version>/           what TensorFlow Serving loads
        tensorboard/

A stage writes its files, then an empty file `done`. A stage that is done is skipped, so the same
command resumes.

Content reaches the disk before its name does, and the name before anything that relies on it: an
operating system writes in any order otherwise, and a power cut leaves names of empty files.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
import tempfile
import textwrap
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

from lt4rec_tf.core.errors import InputError, naming_the_unwritable

DONE = "done"
LOCK = "lock"  # the file by which `locked` locks a folder
_PATTERN_CHARACTERS = "*?[]\\"
_SHOWN = 100  # characters of the keys of an object


class RunError(InputError):
    """A run's folder cannot be used as it is."""


def _at_once(act: Callable[[], object]) -> None:
    act()


_change = _at_once  # replaced while processes work on one folder together


@contextlib.contextmanager
def written_by_one(writer: bool, meet: Callable[[], None]) -> Iterator[None]:
    """Lets one of several processes that take the same steps on a folder write for all.

    They meet before each change, so that none still reads what is about to change, and after it,
    so that all read what was changed.

    Args:
        writer: Tells if this process is the one that writes.
        meet: Returns once every process has called it.
    """
    global _change
    change_before, changing = _change, False

    def together(act: Callable[[], object]) -> None:
        nonlocal changing
        if changing:  # a change that is part of another
            change_before(act)
            return

        meet()
        if writer:
            changing = True
            try:
                change_before(act)
            finally:
                changing = False
        meet()

    _change = together
    try:
        yield
    finally:
        _change = change_before


def change(act: Callable[[], object]) -> None:
    """Runs what changes a run's folder, or the logs; once, however many processes call it."""
    _change(act)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file so that readers see the old content or the new, never a part.

    Args:
        path: The file; its folder is made when absent.
        content: Text (written as UTF-8) or bytes.
    """
    change(lambda: _write_atomically(Path(path), content))


def _write_atomically(path: Path, content: str | bytes) -> None:
    with opened_atomically(path) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)


@contextlib.contextmanager
def opened_atomically(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file that comes into place once it is written to its end, and not before.

    For content that is too long to be held in memory. Call it within `change`.

    Args:
        path: The file; its folder is made when absent.
    """
    with naming_the_unwritable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with appearing_whole(path) as temporary, temporary.open("wb") as file:
        yield file


@contextlib.contextmanager
def appearing_whole(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, renamed to it when the block ends without an error.

    The block closes what it writes.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with naming_the_unwritable(path):
            yield temporary
            to_disk(temporary)
            temporary.replace(path)
            to_disk(path.parent)
    finally:
        with contextlib.suppress(OSError):  # where nothing can be written, nothing can be removed
            temporary.unlink()


def to_disk(path: Path) -> None:
    """Returns once a file's content, or a folder's names, are on the disk.

    A file system that keeps no folders, such as one of a store, cannot be asked about theirs.
    """
    is_folder = path.is_dir()
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not is_folder or error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def folder_to_disk(folder: Path) -> None:
    """Returns once a folder is on the disk with all that lies below it."""
    for path in [*folder.rglob("*"), folder]:
        to_disk(path)


def is_literal(path: Path) -> bool:
    """Tells if TensorFlow takes a path for itself: it reads some paths as patterns of names."""
    return not any(character in str(path) for character in _PATTERN_CHARACTERS)


@contextlib.contextmanager
def literal_path(path: Path) -> Iterator[Path]:
    """Yields a path to the same folder that TensorFlow does not read as a pattern of names.

    Where the folder's own path holds such characters, that is a link in a temporary folder.

    Args:
        path: A folder.
    """
    if is_literal(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "link"
        link.symlink_to(path.absolute(), target_is_directory=True)
        yield link


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Writes a value as indented JSON, atomically."""
    write_atomically(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def undefined_as_null(value: Any) -> Any:
    """Returns nested plain values with None for NaN and infinities, which JSON does not have.

    >>> undefined_as_null({"auc": [float("nan"), 0.5]})
    {'auc': [None, 0.5]}
    """
    if isinstance(value, dict):
        return {name: undefined_as_null(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [undefined_as_null(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class _Object(dict[str, Any]):
    """An object of a JSON file, which names the file where it is asked for a key that it lacks."""

    path: Path | None = None  # copies that dataclasses make have none

    def __missing__(self, key: str) -> NoReturn:
        if self.path is None:
            raise KeyError(key)
        found = textwrap.shorten(", ".join(self) or "no keys", _SHOWN, placeholder=" ...")
        raise RunError(f"{self.path}: found {found}, expected {key} among them")


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Returns:
        Its content. An object that is asked for a key that it lacks raises RunError.

    Raises:
        RunError: The file is absent or is not JSON.
    """

    def in_file(values: dict[str, Any]) -> _Object:
        known = _Object(values)
        known.path = path
        return known

    try:
        return json.loads(read_text(path), object_hook=in_file)
    except ValueError as error:
        raise RunError(f"{path}: not JSON ({error})") from error
    except RecursionError as error:
        raise RunError(f"{path}: not JSON (too many brackets within each other)") from error


def read_text(path: Path) -> str:
    """Reads a text file.

    Raises:
        RunError: The file is absent, is no file, or is not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise RunError(f"{path}: no such file") from error
    except (IsADirectoryError, NotADirectoryError) as error:
        raise RunError(f"{path}: found a folder, expected a file") from error
    except UnicodeDecodeError as error:
        raise RunError(f"{path}: not UTF-8 ({error})") from error


def write_folder_atomically(folder: Path, write: Callable[[Path], None]) -> None:
    """Fills a folder under a temporary name beside it, then renames it into place.

    Args:
        folder: The final name; a folder that is there already is replaced.
        write: Called with the temporary folder, which exists and is empty.
    """
    change(lambda: _write_folder_atomically(Path(folder), write))


def _write_folder_atomically(folder: Path, write: Callable[[Path], None]) -> None:
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    try:
        with naming_the_unwritable(folder):
            temporary.mkdir(parents=True)
            write(temporary)
            folder_to_disk(temporary)
            if folder.exists():
                shutil.rmtree(folder)
            temporary.rename(folder)
            to_disk(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def copy_folder(source: Path, copy: Path) -> None:
    """Copies a folder and its content, atomically."""

    def fill(folder: Path) -> None:
        shutil.copytree(source, folder, dirs_exist_ok=True)

    write_folder_atomically(copy, fill)


def remove(folder: Path) -> None:
    """Removes a folder and its content, if it exists."""
    change(lambda: shutil.rmtree(folder, ignore_errors=True))


def replace_folder(new: Path, old: Path) -> None:
    """Renames a folder; an old folder of that name is removed first."""

    def rename() -> None:
        shutil.rmtree(old, ignore_errors=True)
        new.rename(old)
        to_disk(old.parent)

    change(rename)


def is_done(stage: Path) -> bool:
    """Tells if this or an earlier process finished a stage."""
    return (stage / DONE).exists()


def mark_done(stage: Path) -> None:
    """Marks a stage as finished; call it after its last file is written."""
    write_atomically(stage / DONE, "")


def folders(parent: Path) -> list[Path]:
    """Lists the folders below a folder without temporary ones; none where it is absent."""
    if not parent.exists():
        return []
    return [path for path in parent.iterdir() if path.is_dir() and not path.name.startswith(".")]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Locks a run's folder for this process; the lock ends with the process, however it ends.

    Raises:
        RunError: Another process holds the lock, or there can be no such folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be a run's folder ({error.strerror})") from error
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(f"{folder}: another process works on this run") from error
        yield


def sweep(folder: Path) -> None:
    """Removes half-written files of killed processes below a run's folder."""
    change(lambda: _sweep(folder))


def _sweep(folder: Path) -> None:
    for path in [*folder.rglob(".*.tmp"), *folder.rglob(".tmp-*")]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
