"""What a run's logs held when it read them, by which later starts notice other logs.

Sizes alone do not tell: a log that was written anew, or whose labels were corrected, may have as
many bytes as before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lt4rec_tf.core.artifacts import sha256
from lt4rec_tf.core.locations import in_store
from lt4rec_tf.data.formats.files import DataError, Stamp
from lt4rec_tf.data.input.source import Source

_BLOCK_BYTES = 2**16
_SAMPLED_BYTES = 2**25  # of all files together; of each two blocks at least


@dataclass(frozen=True)
class Content:
    """What a file held.

    Attributes:
        written_ns: When it was written, in nanoseconds since 1970.
        sampled: SHA-256 of blocks that are spread evenly over it: all of it if it is small.
        sha256: Of all of it; None of a file in a store, which is not read only for this.
    """

    written_ns: int
    sampled: str
    sha256: str | None


def contents_of(source: Source) -> dict[str, Content]:
    """Reads every log and side table once; returns by name what it holds.

    Raises:
        DataError: One cannot be read.
    """
    contents = {}
    for path, stamp in source.stamps.items():
        contents[_name(source, path)] = Content(
            stamp.written_ns, _sampled(path, stamp, len(source.stamps)), _of_all(path)
        )
    return contents


def changed_contents(source: Source, before: Mapping[str, Content]) -> list[str]:
    """Compares logs and side tables with what they held, where it is known.

    Of a file that was written when it was before, a sample is read, in all some MiB of all files.
    A file with another time, which may be a copy, is read whole.

    Args:
        source: The opened logs, of as many files as before.
        before: By name, from `contents_of`.

    Returns:
        The names of those that hold something else.

    Raises:
        DataError: One cannot be read.
    """
    changed = []
    for path, stamp in source.stamps.items():
        name = _name(source, path)
        content = before.get(name)
        if content is None:
            continue
        if stamp.written_ns == content.written_ns or content.sha256 is None:
            is_same = _sampled(path, stamp, len(source.stamps)) == content.sampled
        else:
            is_same = _of_all(path) == content.sha256
        if not is_same:
            changed.append(name)
    return changed


def _name(source: Source, path: Path) -> str:
    return path.relative_to(source.data_dir).as_posix()


def _of_all(path: Path) -> str | None:
    if in_store(path):
        return None
    try:
        return sha256(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _sampled(path: Path, stamp: Stamp, files: int) -> str:
    """Returns the SHA-256 of evenly spread blocks, the first and the last one among them."""
    blocks = max(2, _SAMPLED_BYTES // files // _BLOCK_BYTES)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            if stamp.size <= blocks * _BLOCK_BYTES:
                digest.update(file.read())
            else:
                for block in range(blocks):
                    file.seek((stamp.size - _BLOCK_BYTES) * block // (blocks - 1))
                    digest.update(file.read(_BLOCK_BYTES))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()
