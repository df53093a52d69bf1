"""Paths of files and folders that may lie in an object store."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from lt4rec_tf.core.errors import InputError

_URL = "://"


def location(text: str | Path) -> Path:
    """Returns the path of a file or folder, also of one in a store.

    Args:
        text: A path, or a URL such as "gs://bucket/logs", in which case the path is one of
            universal_pathlib, which does what `pathlib.Path` does.

    Raises:
        InputError: A library that the URL needs is not installed, or no library knows it.
    """
    if not in_store(text):
        return Path(text)
    try:
        import upath

        path = upath.UPath(str(text))
        _ = path.fs  # imports the store's own library
    except (ImportError, ValueError) as error:
        raise InputError(
            f"{text}: found a URL that cannot be read ({error}), expected one whose library is "
            "installed: pip install 'lt4rec_tf[stores]', and gcsfs, s3fs or the like"
        ) from error
    return cast(Path, path)


def in_store(path: str | Path) -> bool:
    """Tells if a path is a URL.

    >>> in_store("gs://bucket/logs"), in_store("/data/logs")
    (True, False)
    """
    return _URL in str(path)


def url_parts(url: str) -> tuple[str, list[str]]:
    """Takes a URL apart into what names the store, and folders with the name.

    >>> url_parts("s3://bucket/logs/*.csv")
    ('s3://', ['bucket', 'logs', '*.csv'])
    """
    scheme, _, rest = url.partition(_URL)
    return scheme + _URL, rest.split("/")
