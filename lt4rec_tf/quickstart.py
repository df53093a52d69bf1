"""Writes the configurations that come with the package to ./configs, then trains the quickstart.

    lt4rec quickstart

Configurations name their schemas from the folder in which commands are given. What is there
already stays as it is. Further flags are those of train.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lt4rec_tf.core import command
from lt4rec_tf.core.artifacts import write_atomically
from lt4rec_tf.core.errors import InputError

CONFIGS = "configs"


def main(argv: Sequence[str]) -> None:
    """Writes what is missing of ./configs, and trains by configs/quickstart.cfg."""
    if "--help" in argv:
        print((__doc__ or "").strip())
        return
    written = write_configurations(Path())
    print(f"{CONFIGS}/: {written} configurations written", flush=True)

    argv = ["lt4rec quickstart", f"--flagfile={CONFIGS}/quickstart.cfg", *argv[1:]]
    command.run_module("lt4rec_tf.train", argv)


def write_configurations(folder: Path) -> int:
    """Copies the package's configurations below a folder; returns how many were not there.

    Args:
        folder: Gets "configs".

    Raises:
        InputError: The package was installed without them.
    """
    source = _shipped()
    written = 0
    for path in sorted(source.rglob("*")):
        target = folder / CONFIGS / path.relative_to(source)
        if path.is_file() and "__pycache__" not in path.parts and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, path.read_bytes())
            written += 1
    return written


def _shipped() -> Path:
    """Returns the folder of the configurations: of a wheel in the package, else beside it."""
    package = Path(__file__).parent
    for folder in (package / CONFIGS, package.parent / CONFIGS):
        if (folder / "quickstart.cfg").exists():
            return folder
    raise InputError(f"{package / CONFIGS}: no such folder, expected the package's configurations")


if __name__ == "__main__":
    command.run(main)
