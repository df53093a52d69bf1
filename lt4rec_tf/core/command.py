"""What must be set before TensorFlow is loaded."""

from __future__ import annotations

import gc
import os


def before_tensorflow() -> None:
    """Readies a command's process: a quiet TensorFlow, without Keras 3, and a calm collector.

    TensorFlow loads the Keras that `tf.keras` stands for. By default that is Keras 3, with
    Matplotlib and scikit-learn behind it, and more than a second of every start; by
    TF_USE_LEGACY_KERAS it is tf_keras, which is loaded anyway. What the environment says already
    stays.

    TensorFlow's import and its graphs are millions of objects that live on, which Python's
    garbage collector would go through again and again for every 700 new ones: a sixth of a short
    command's time.

    Commands alone ask for this: a program that imports this package may use `tf.keras` for itself.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    gc.set_threshold(50_000, 20, 20)
