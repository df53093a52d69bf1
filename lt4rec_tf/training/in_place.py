"""Reads and sets whole variables without a copy, which of a large table would not fit beside it.

After a step has updated some of its rows, TensorFlow copies a variable at every read of the whole
and at every assignment, so that later updates of rows change no tensor that was read before. Here
it does not copy. The next update of rows finds the variable alone again, or makes the copy then:
drop what `value_of` returns before that.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def value_of(variable: Any) -> tf.Tensor:
    """Returns a variable's value, which shares its memory where it lies on one device."""
    if not isinstance(variable, tf.Variable) or not hasattr(variable, "read_value_no_copy"):
        return tf.convert_to_tensor(variable)  # of several replicas
    return variable.read_value_no_copy()


def set_value(variable: Any, value: tf.Tensor) -> None:
    """Sets a variable, which takes over the memory of the value where it lies on one device.

    Args:
        variable: What is set.
        value: Of its shape and type; not to be used afterwards.
    """
    for local in tf.distribute.get_strategy().experimental_local_results(variable):
        if hasattr(local, "read_value_no_copy"):
            tf.raw_ops.DisableCopyOnRead(resource=local.handle)
    variable.assign(value)
