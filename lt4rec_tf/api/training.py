"""Training from Python: the command's procedure, with flags as arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lt4rec_tf import train as command
from lt4rec_tf.api.runs import Run, load_run
from lt4rec_tf.core.processes import without_main_module


def train(*, data: str | Path = "", **flags: Any) -> Run:
    """Trains a run as `python -m lt4rec_tf.train` does, with the same numbers.

    Called again with the same arguments it goes on where it was stopped; a finished run is read
    back. It prints what the command prints. TensorFlow's operations become deterministic in this
    process, as results of the same call are equal.

    Args:
        data: Folder of the logs, the flag data_dir.
        flags: Any flag of the command, such as schema="feed.toml", epochs=2, models=["s_weight"]; a
            list or tuple for one that takes several values, True or False for a switch.

    Returns:
        The run.

    Raises:
        InputError: The same as the command's message: a flag, the schema, the logs or the folder
            cannot be used.
    """
    if data:
        flags["data_dir"] = data
    with without_main_module():
        folder = command.run(["train", *(_argument(name, flags[name]) for name in flags)])
    return load_run(folder)


def _argument(name: str, value: Any) -> str:
    """Writes a flag as the command line has it.

    >>> _argument("models", ["base", "s_weight"]), _argument("calibrate", False)
    ('--models=base,s_weight', '--calibrate=false')
    """
    if isinstance(value, bool):
        value = str(value).lower()
    elif isinstance(value, list | tuple):
        value = ",".join(map(str, value))
    return f"--{name}={value}"
