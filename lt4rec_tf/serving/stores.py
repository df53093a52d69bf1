"""Publishes versions in an object store, where nothing can be renamed.

TensorFlow Serving refuses a version without saved_model.pb and tries again a minute later, unless
it was started with --max_num_load_retries=0: that file goes last when a version comes, and first
when it leaves. A store has no locks: publish from one process at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from lt4rec_tf.serving.publish import PublishError, check_keep_versions

_GRAPH = "saved_model.pb"


def put(version: Path, base: Path, keep_versions: int = 0) -> Path:
    """Copies a version to a store, under the next number there.

    Args:
        version: Its folder, on this machine.
        base: The model's folder in the store, as `locations.location` gives it.
        keep_versions: Number of newest versions that are kept, as `check_keep_versions` takes it.

    Returns:
        The version's folder in the store.

    Raises:
        PublishError: The store refuses; a version that was begun is removed. Or keep_versions
            cannot be used; then nothing is done.
    """
    check_keep_versions(keep_versions)
    published = base
    try:
        numbers = _numbers(base)
        published = base / str(max(numbers, default=0) + 1)
        for path in _graph_last(version.rglob("*")):
            copy = published / path.relative_to(version).as_posix()
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    except OSError as error:
        with contextlib.suppress(OSError):
            _remove(published)
        raise PublishError(f"{published}: cannot publish here ({error})") from error

    kept = sorted([*numbers, int(published.name)])[-keep_versions:]
    try:
        for number in set(numbers) - set(kept):
            _remove(base / str(number))
    except OSError as error:
        raise PublishError(
            f"{published} is published, but an older version cannot be removed ({error})"
        ) from error
    return published


def _numbers(base: Path) -> list[int]:
    names = [child.name for child in base.iterdir()] if base.exists() else []
    return [int(name) for name in names if name.isascii() and name.isdecimal()]


def _graph_last(paths: Iterable[Path]) -> list[Path]:
    files = [path for path in paths if path.is_file()]
    return sorted(files, key=lambda path: (path.name == _GRAPH, path.as_posix()))


def _remove(version: Path) -> None:
    if version.exists():
        for path in reversed(_graph_last(version.rglob("*"))):
            path.unlink()
