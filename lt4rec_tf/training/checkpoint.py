"""Variables on disk by explicit names.

Names come from the network's own table of variables, not from walking Python objects: a walk can
miss a variable without a word, and a missing name here is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from lt4rec_tf import runs

_PREFIX = "variables"


class CheckpointError(Exception):
    """A checkpoint cannot be read into the variables at hand."""


def save(folder: Path, variables: Mapping[str, tf.Variable]) -> None:
    """Writes variables to a folder, which appears whole or not at all."""
    runs.write_folder_atomically(folder, lambda temporary: _write(temporary, variables))


def _write(folder: Path, variables: Mapping[str, tf.Variable]) -> None:
    names = list(variables)
    tf.raw_ops.SaveV2(
        prefix=str(folder / _PREFIX),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.convert_to_tensor(variables[name]) for name in names],
    )


def restore(
    folder: Path, variables: Mapping[str, tf.Variable], renames: Mapping[str, str] | None = None
) -> None:
    """Reads variables back.

    Args:
        folder: As given to `save`.
        variables: Name -> variable to set; all must be in the checkpoint.
        renames: Name of a variable -> its name in the checkpoint, where they differ.

    Raises:
        CheckpointError: The folder is no checkpoint, lacks a variable, or holds another shape.
    """
    prefix = str(Path(folder) / _PREFIX)
    try:
        reader = tf.train.load_checkpoint(prefix)
    except (tf.errors.OpError, ValueError) as error:
        raise CheckpointError(f"{folder}: no readable checkpoint ({error})") from error
    shapes = reader.get_variable_to_shape_map()
    renames = renames or {}
    for name, variable in variables.items():
        stored = renames.get(name, name)
        if stored not in shapes:
            raise CheckpointError(f"{folder}: no variable {stored!r}, found {sorted(shapes)}")
        if list(shapes[stored]) != variable.shape.as_list():
            raise CheckpointError(
                f"{folder}: {stored} has shape {shapes[stored]}, "
                f"expected {variable.shape.as_list()}"
            )
        variable.assign(reader.get_tensor(stored))
