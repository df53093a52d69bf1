"""A module that can be called: one name for a command's module and for a function of the API."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


def callable_as(name: str, home: str, function: str) -> None:
    """Lets a call of a module be a call of a function.

    `import lt4rec_tf.train` binds the module to the package's name `train`; `lt4rec_tf.train(...)`
    then calls the module.

    Args:
        name: Of the module, which is being imported.
        home: The module that holds the function, imported at the first call.
        function: Its name there.
    """

    class _Callable(ModuleType):
        def __call__(self, *arguments: Any, **named: Any) -> Any:
            return getattr(importlib.import_module(home), function)(*arguments, **named)

    sys.modules[name].__class__ = _Callable
