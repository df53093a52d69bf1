"""Checkpoints of variables under explicit names.

Names come from the network's own table of variables, not from walking Python objects: a walk can
silently miss a variable, whereas a missing name is an error here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from lt4rec_tf.core import artifacts
from lt4rec_tf.core.errors import InputError
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.distributed.replicas import by_parameter_server, parts_of
from lt4rec_tf.training.in_place import set_value, value_of

_PREFIX = "variables"
StateT = TypeVar("StateT")
# Files of a training's progress.
_VARIABLES, _STATE = "variables", "state.json"


class CheckpointError(InputError):
    """A checkpoint cannot be read into the variables at hand."""


def save(folder: Path, variables: Mapping[str, tf.Variable]) -> None:
    """Writes variables to a folder, which appears whole or not at all."""
    artifacts.write_folder_atomically(folder, lambda temporary: _write(temporary, variables))


def _write(folder: Path, variables: Mapping[str, tf.Variable]) -> None:
    by_device: dict[str, list[_Part]] = {}
    for name, variable in variables.items():
        for part in _parts(name, variable):
            by_device.setdefault(part.server, []).append(part)

    # A server writes its own variables, for which it must see the same folder.
    prefixes = [str(folder / f"{_PREFIX}_{number}") for number in range(len(by_device))]
    for prefix, (server, parts) in zip(prefixes, by_device.items(), strict=True):
        with tf.device(server):
            tf.raw_ops.SaveV2(
                prefix=prefix,
                tensor_names=[part.name for part in parts],
                shape_and_slices=[part.table_slice for part in parts],
                tensors=[value_of(part.variable) for part in parts],
            )

    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=prefixes,
        destination_prefix=str(folder / _PREFIX),
        delete_old_dirs=False,
    )


@dataclass(frozen=True)
class _Part:
    """A variable, or the rows of one that lie on one server.

    Attributes:
        name: Of the whole variable.
        table_slice: Which part of it this is, in the notation of TensorFlow's checkpoints; "" for
            all.
        variable: Itself.
        server: The device that reads and writes it; "" for this process.
    """

    name: str
    table_slice: str
    variable: tf.Variable
    server: str


def _parts(name: str, variable: tf.Variable) -> Iterator[_Part]:
    parts = parts_of(variable)
    first_row = 0
    for part in parts:
        table_slice = ""
        if len(parts) > 1:
            whole_shape = " ".join(map(str, variable.shape))
            rows = f"{first_row},{part.shape[0]}"
            table_slice = f"{whole_shape} {rows}" + ":-" * (len(part.shape) - 1)
            first_row += part.shape[0]
        yield _Part(name, table_slice, part, _host(part) if by_parameter_server() else "")


def _host(variable: tf.Variable) -> str:
    """Returns the processor of the machine that holds a variable."""
    return f"{variable.device.rpartition('/device:')[0]}/device:CPU:0"


def restore(
    folder: Path, variables: Mapping[str, tf.Variable], renames: Mapping[str, str] | None = None
) -> None:
    """Reads variables back.

    Args:
        folder: Written by `save`.
        variables: Name -> variable to set; all must be in the checkpoint.
        renames: Name of a variable -> its name in the checkpoint, where they differ.

    Raises:
        CheckpointError: The folder is no checkpoint or a damaged one, lacks a variable, or holds
            another shape or type. No variable is set then.
    """
    renames = renames or {}
    stored = {name: renames.get(name, name) for name in variables}
    if by_parameter_server():
        _check_all(folder, stored, variables)
        _restore_on_servers(folder, stored, variables)
        return

    # Read twice: all is checked before anything is set, and no two tables are held at a time.
    for name, value in _values(folder, stored):
        _check_fits(f"{folder}: {stored[name]}", value.shape, value.dtype, variables[name])
        del value
    with _read_from(folder) as literal:
        for name, variable in variables.items():
            set_value(variable, _tensor(literal, stored[name], "", variable.dtype))


def read(folder: Path, name: str) -> np.ndarray:
    """Returns the values of one variable.

    Raises:
        CheckpointError: The folder is no checkpoint or a damaged one, or lacks the variable.
    """
    ((_, value),) = _values(folder, {name: name})
    return value


def read_all(folder: Path) -> dict[str, np.ndarray]:
    """Returns the values of all variables by name.

    Raises:
        CheckpointError: The folder is no checkpoint or a damaged one.
    """
    with _opened(folder) as reader:
        names = sorted(reader.get_variable_to_shape_map())
    return dict(_values(folder, {name: name for name in names}))


def _restore_on_servers(
    folder: Path, stored: Mapping[str, str], variables: Mapping[str, tf.Variable]
) -> None:
    for name, variable in variables.items():
        for part in _parts(stored[name], variable):
            with tf.device(part.server):
                value = _tensor(folder, part.name, part.table_slice, variable.dtype)
                part.variable.assign(value)


def _tensor(folder: Path, name: str, table_slice: str, dtype: tf.DType) -> tf.Tensor:
    (value,) = tf.raw_ops.RestoreV2(
        prefix=str(folder / _PREFIX),
        tensor_names=[name],
        shape_and_slices=[table_slice],
        dtypes=[dtype],
    )
    return value


def _check_all(
    folder: Path, stored: Mapping[str, str], variables: Mapping[str, tf.Variable]
) -> None:
    with _opened(folder) as reader:
        shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()

    for name, stored_name in stored.items():
        _check_stored(folder, stored_name, shapes)
        dtype = dtypes[stored_name].as_numpy_dtype
        _check_fits(f"{folder}: {stored_name}", shapes[stored_name], dtype, variables[name])


def _values(folder: Path, stored: Mapping[str, str]) -> Iterator[tuple[str, np.ndarray]]:
    with _opened(folder) as reader:
        stored_names = reader.get_variable_to_shape_map()
        for name, stored_name in stored.items():
            _check_stored(folder, stored_name, stored_names)
            yield name, np.asarray(reader.get_tensor(stored_name))


def save_progress(
    folder: Path, variables: Mapping[str, tf.Variable], state: Mapping[str, Any]
) -> None:
    """Writes all that resuming a training needs to a folder, which appears whole or not at all.

    Args:
        folder: Of this point of the training.
        variables: Those of the network, of the optimiser and all others that steps change.
        state: Epoch, step and results so far, as plain values.
    """

    def write(temporary: Path) -> None:
        save(temporary / _VARIABLES, variables)
        artifacts.write_json(temporary / _STATE, state)

    artifacts.write_folder_atomically(folder, write)


def restore_progress(
    folder: Path, variables: Mapping[str, tf.Variable], state_type: type[StateT]
) -> StateT:
    """Sets the variables to what `save_progress` wrote; returns the state.

    Args:
        folder: Of a point of the training.
        variables: As they were saved.
        state_type: Dataclass of the state, which may refuse values by an InputError.

    Raises:
        CheckpointError: As `restore`.
        RunError: The state is no JSON, or is not of that type; names the key.
    """
    state = read_typed(folder / _STATE, state_type)
    try:
        restored = state_type(**state)
    except InputError as error:
        raise artifacts.RunError(f"{folder / _STATE}: {error}") from error
    restore(folder / _VARIABLES, variables)
    return restored


@contextmanager
def _opened(folder: Path) -> Iterator[tf.train.CheckpointReader]:
    """Opens a checkpoint."""
    with _read_from(folder) as literal:
        yield tf.train.load_checkpoint(str(literal / _PREFIX))


@contextmanager
def _read_from(folder: Path) -> Iterator[Path]:
    """Yields a folder's literal path; TensorFlow's errors become one that names the folder."""
    try:
        with artifacts.literal_path(Path(folder)) as literal:
            yield literal
    except (tf.errors.OpError, IndexError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{folder}: no readable checkpoint ({error})") from error


def _check_stored(folder: Path, name: str, stored_names: Collection[str]) -> None:
    if name not in stored_names:
        raise CheckpointError(f"{folder}: no variable {name!r}, found {sorted(stored_names)}")


def _check_fits(what: str, shape: Sequence[int], dtype: np.dtype, variable: tf.Variable) -> None:
    expected = variable.shape.as_list()
    if list(shape) != expected:
        raise CheckpointError(f"{what} has shape {list(shape)}, expected {expected}")
    if dtype != variable.dtype.as_numpy_dtype:
        raise CheckpointError(f"{what} is {np.dtype(dtype)}, expected {variable.dtype.name}")
