"""Serves a model's versions for development, as TensorFlow Serving's REST interface does.

    python -m lt4rec_tf.serve --model=models/feed
    python export/client.py rows.csv --model=feed

Not for production: it batches nothing, has neither gRPC nor metrics, and its speed says nothing
about TensorFlow Serving's. New versions are served as they appear, and the highest serves.
"""

from __future__ import annotations

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lt4rec_tf.core import command
from lt4rec_tf.core.errors import InputError
from lt4rec_tf.core.flags import build, flag, parse_flags
from lt4rec_tf.serving.development_server.server import start_server
from lt4rec_tf.serving.development_server.versions import VersionedModel

POLL_SECONDS = 1.0


@dataclass(frozen=True)
class _Flags:
    model: str = flag("", "Folder whose children named 1, 2, ... are the versions.", required=True)
    name: str = flag("", "The model's name in addresses; none: that of its folder.")
    host: str = flag("127.0.0.1", "Address to listen on; 0.0.0.0: all of this machine.")
    port: int = flag(8501, "Port to listen on; 0: a free one.", at_least=0)


def main(argv: Sequence[str]) -> None:
    """Serves until it is interrupted."""
    flags = build(_Flags, parse_flags(argv, __doc__ or "", [_Flags]))
    folder = _folder_of(flags.model)
    name = flags.name or folder.resolve().name

    print("for development, not for production; Ctrl-C ends it", flush=True)
    model = VersionedModel(name, folder, {}, keep=1, say=_say)
    try:
        with start_server(
            {name: model}, host=flags.host, port=flags.port, poll_seconds=POLL_SECONDS
        ) as url:
            print(f"{url}/v1/models/{name}", flush=True)
            threading.Event().wait()
    except OSError as error:
        raise InputError(f"--host={flags.host} --port={flags.port}: {error.strerror}") from error
    except KeyboardInterrupt:
        print("ended", flush=True)


def _folder_of(model: str) -> Path:
    if not model:
        raise InputError("--model: found nothing, expected the folder of a model's versions")
    folder = Path(model)
    if not folder.is_dir():
        raise InputError(f"--model: {folder}: no such folder, expected that of a model's versions")
    if (folder / "saved_model.pb").exists():
        raise InputError(
            f"--model: {folder}: found one version, expected the folder that holds versions: "
            f"{folder.resolve().parent}"
        )
    return folder


def _say(version: int, state: str, message: str) -> None:
    if state != "LOADING":
        print(f"version {version}: {state}" + (f": {message}" if message else ""), flush=True)


if __name__ == "__main__":
    command.run(main)
