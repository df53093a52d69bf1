"""Variables on disk by explicit names.

Names come from the network's own table of variables, not from walking Python objects: a walk can
miss a variable without a word, and a missing name here is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
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
        CheckpointError: The folder is no checkpoint or a damaged one, lacks a variable, or holds
            another shape or type. No variable is set then.
    """
    renames = renames or {}
    stored = {name: renames.get(name, name) for name in variables}
    # Read twice: all is checked before anything is set, and no two tables are held at a time.
    for name, value in _values(folder, stored):
        _check_fits(f"{folder}: {stored[name]}", value, variables[name])
    for name, value in _values(folder, stored):
        variables[name].assign(value)


def _values(folder: Path, stored: Mapping[str, str]) -> Iterator[tuple[str, np.ndarray]]:
    try:
        reader = tf.train.load_checkpoint(str(Path(folder) / _PREFIX))
        known = reader.get_variable_to_shape_map()
        for name, stored_name in stored.items():
            if stored_name not in known:
                raise CheckpointError(
                    f"{folder}: no variable {stored_name!r}, found {sorted(known)}"
                )
            yield name, np.asarray(reader.get_tensor(stored_name))
    except (tf.errors.OpError, IndexError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{folder}: no readable checkpoint ({error})") from error


def _check_fits(what: str, value: np.ndarray, variable: tf.Variable) -> None:
    expected = variable.shape.as_list()
    if list(value.shape) != expected:
        raise CheckpointError(f"{what} has shape {list(value.shape)}, expected {expected}")
    if value.dtype != variable.dtype.as_numpy_dtype:
        raise CheckpointError(f"{what} is {value.dtype}, expected {variable.dtype.name}")
