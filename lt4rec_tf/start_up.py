"""What must be set before TensorFlow is loaded, which reads it once."""

from __future__ import annotations

import os


def before_tensorflow() -> None:
    """Readies a command's process: a quiet TensorFlow, without Keras 3.

    TensorFlow loads the Keras that `tf.keras` stands for. By default that is Keras 3, with
    Matplotlib and scikit-learn behind it, and more than a second of every start; by
    TF_USE_LEGACY_KERAS it is tf_keras, which is loaded anyway. Commands alone ask for that: a
    program that imports this package may use `tf.keras` for itself. What the environment says
    already stays.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
