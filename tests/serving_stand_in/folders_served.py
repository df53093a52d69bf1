"""The development server on folders of versions, as tests start it."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from lt4rec_tf.serving.development_server.server import start_server
from lt4rec_tf.serving.development_server.versions import VersionedModel


@contextlib.contextmanager
def serve_folders(
    models: Mapping[str, Path],
    *,
    labels: Mapping[str, Mapping[str, int]] | None = None,
    keep: int = 1,
    poll_seconds: float = 0.2,
) -> Iterator[str]:
    """Serves models on a free port until the context ends; yields the address.

    Args:
        models: Name -> folder whose children named by integers are the versions.
        labels: Model -> label -> version.
        keep: How many of a model's highest versions are served.
        poll_seconds: Between two looks for new versions.
    """
    served = {
        name: VersionedModel(name, Path(base), (labels or {}).get(name, {}), keep)
        for name, base in models.items()
    }
    with start_server(served, poll_seconds=poll_seconds) as url:
        yield url
