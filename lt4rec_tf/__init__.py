"""CTR and CVR in one shared network, each task wearing its own lottery ticket (LT4REC).

    import lt4rec_tf as lt
    run = lt.load_run("runs/quickstart-0123456789/seed_1")
    run.model().predict(frame)

docs/python.md has all of it. Importing the package loads nothing else; TensorFlow comes with the
first call.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lt4rec_tf.api.models import Model as Model
    from lt4rec_tf.api.runs import Run as Run
    from lt4rec_tf.api.runs import load_run as load_run
    from lt4rec_tf.api.tables import Table as Table
    from lt4rec_tf.api.versions import Version as Version
    from lt4rec_tf.api.versions import load_version as load_version
    from lt4rec_tf.core.errors import InputError as InputError

__version__ = "0.2.0"

# `train` is the command's module, which can be called.
_HOMES = {
    "InputError": "lt4rec_tf.core.errors",
    "Model": "lt4rec_tf.api.models",
    "Run": "lt4rec_tf.api.runs",
    "Table": "lt4rec_tf.api.tables",
    "Version": "lt4rec_tf.api.versions",
    "load_run": "lt4rec_tf.api.runs",
    "load_version": "lt4rec_tf.api.versions",
}
__all__ = ["InputError", "Model", "Run", "Table", "Version", "load_run", "load_version", "train"]


def __getattr__(name: str) -> Any:
    """Loads what the API names when it is first asked for."""
    if name == "train":
        return importlib.import_module("lt4rec_tf.train")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Lists what the API names, loaded or not."""
    return sorted({*globals(), *__all__})
