"""JSON as somebody may have changed it."""

import copy
import json

# Of another type, huge, undefined; and objects and lists of them.
VALUES = ["x", None, [], {}, 10**400, float("nan"), True, [{"a": 1}], {"a": [1]}]


def tampered(content):
    """Returns all trees in which one value is another, or is absent, and other trees."""
    return [*_mutants(json.loads(json.dumps(content))), *VALUES]


def _mutants(value):
    if not isinstance(value, dict | list):
        return
    for key in value if isinstance(value, dict) else range(len(value)):
        for new in [*VALUES, *_mutants(value[key])]:
            changed = copy.copy(value)
            changed[key] = new
            yield changed
        changed = copy.copy(value)
        del changed[key]
        yield changed
