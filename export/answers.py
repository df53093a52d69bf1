"""Checks of what a served model answered: as many answers as were asked, each of its dtype."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from errors import RefusedError, shown
from request import Request
from signature import Output, Signature

MOST_AXES = 8  # of one answer: deeper lists are no tensor
EXPECTED = {str: "a text", bool: "true or false", float: "a number"}


def ask(model: Any, signature: Signature, request: Request) -> dict[str, list]:
    """Sends a request and returns the model's answers.

    Args:
        model: A `rest.Model` or `grpc_calls.Model`.
        signature: To call.
        request: Of that signature.

    Returns:
        By output: one answer per row of the request.

    Raises:
        NoAnswerError: No server, or not in time.
        RefusedError: The server refused the request, or its answer is none to it.
    """
    answer = model.send(model.call(signature, request))
    return check(signature, request, model.read(signature, request, answer))


def check(signature: Signature, request: Request, answers: Mapping[str, Any]) -> dict[str, list]:
    """Checks answers against their request; returns one per row.

    Args:
        signature: That was called.
        request: That was sent.
        answers: By output, in nested lists: one per row, or (1, candidates).

    Raises:
        RefusedError: An output is absent, of another number of answers or of another dtype.
    """
    asked, unit = len(request.rows), "row"
    if signature.kind == "candidates":
        asked, unit = request.candidates, "candidate"

    by_row = {}
    for output in signature.outputs:
        if output.name not in answers:
            found = ", ".join(sorted(map(str, answers))) or "none"
            raise RefusedError(f"answer: output {output.name}: found {found}")
        values = answers[output.name]
        depth = None if output.rank is None else max(output.rank - 1, 0)
        if signature.kind == "candidates":
            (values,) = _expect_list(output, values, 1, "request")
            depth = None if depth is None else max(depth - 1, 0)
        if signature.kind == "regress":
            depth = 0  # a float a row, though the output may be (rows, 1)
        values = _expect_list(output, values, asked, unit)
        _check_values(output, values, request, depth)
        by_row[output.name] = values[: len(request.rows)]
    return by_row


def _expect_list(output: Output, values: Any, count: int, unit: str) -> list:
    if not isinstance(values, list) or len(values) != count:
        found = f"a list of {len(values)}" if isinstance(values, list) else shown(values)
        raise RefusedError(
            f"answer: {output.name}: found {found}, expected a list of {count}, one a {unit}"
        )
    return values


def _check_values(output: Output, values: list, request: Request, depth: int | None) -> None:
    kind = {"DT_STRING": str, "DT_BOOL": bool}.get(output.dtype, float)
    if not depth and set(map(type, values)) == {kind}:
        return  # almost always, and fast

    first_shape = None
    for position, value in enumerate(values):
        row = request.rows[min(position, len(request.rows) - 1)]
        shape = _shape(value, kind)
        if shape is None or (depth is not None and len(shape) != depth):
            expected = EXPECTED[kind] if not depth else f"{EXPECTED[kind]} in {depth} lists"
            raise RefusedError(
                f"answer: line {row.line}: {output.name}: found {shown(value)}, expected {expected}"
            )
        first_shape = shape if position == 0 else first_shape
        if shape != first_shape:
            raise RefusedError(
                f"answer: line {row.line}: {output.name}: found shape {shape}, "
                f"expected {first_shape} as in line {request.rows[0].line}"
            )


def _shape(value: Any, kind: type, most_axes: int = MOST_AXES) -> tuple[int, ...] | None:
    """Returns the shape of nested lists of one kind of value; None where they are not."""
    if not isinstance(value, list):
        return () if _is(value, kind) else None
    if not most_axes:
        return None
    shapes = {_shape(inner, kind, most_axes - 1) for inner in value}
    if len(shapes) > 1 or None in shapes:
        return None
    return (len(value), *(shapes.pop() if shapes else ()))


def _is(value: Any, kind: type) -> bool:
    if kind is not float:
        return isinstance(value, kind)
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, float) or (is_whole and -(2**63) <= value < 2**64)
