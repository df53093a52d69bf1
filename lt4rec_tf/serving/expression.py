"""A rank score written as arithmetic of the tasks' outputs: ctr * (0.3 * share + log1p(length)).

    e = number | name | (e) | -e | e + e | e - e | e * e | e / e | e ** e
      | log(e) | log1p(e) | exp(e) | sqrt(e) | min(e, e, ...) | max(e, e, ...)
      | scenario(name, ...)

Precedence is Python's, whose parser reads the text: -a ** b is -(a ** b), a ** b ** c is
a ** (b ** c). scenario(a, b) is the first of these tasks whose scenario a candidate is of, and NaN
for a candidate of none. The text becomes a tree of the operations above; nothing of it is run as
code, and all else that Python knows is refused.

Source: https://docs.python.org/3/reference/expressions.html#operator-precedence
"""

from __future__ import annotations

import ast
import functools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, TypeAlias, cast

import numpy as np
import tensorflow as tf

from lt4rec_tf.core.flags import ConfigError

FLAG = "rank_expression"
# Far above the needs of a score, but a bound for Python's parser and for the graph.
MAX_LENGTH, MAX_DEPTH = 1000, 50
LARGEST = float(tf.float32.max)
CHOICE = "scenario"
# Before a task's name, in a name that no text can hold: 1 for candidates of the task's scenario.
INSIDE = "inside "

Node: TypeAlias = "float | str | Operation"  # a number, a name, or what is computed of others


@dataclass(frozen=True)
class Operation:
    """An operation on other parts.

    Attributes:
        name: A key of `_COMPUTED`.
        operands: From left to right.
    """

    name: str
    operands: tuple[Node, ...]


@dataclass(frozen=True)
class Expression:
    """A score: its text and its tree.

    Attributes:
        text: Without blanks around it.
        root: Parts without names are numbers already.
    """

    text: str
    root: Node


def _of_all(compute: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Callable[..., tf.Tensor]:
    return lambda *values: functools.reduce(compute, values)


_OPERATORS: Mapping[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Pow: "**",
}
_FUNCTIONS: Mapping[str, Callable[..., tf.Tensor]] = {
    "log": tf.math.log,
    "log1p": tf.math.log1p,
    "exp": tf.exp,
    "sqrt": tf.sqrt,
    "min": _of_all(tf.minimum),
    "max": _of_all(tf.maximum),
}
_COMPUTED: Mapping[str, Callable[..., tf.Tensor]] = {
    "+": tf.add,
    "-": tf.subtract,
    "*": tf.multiply,
    "/": tf.divide,
    "**": tf.pow,
    "negative": tf.negative,
    CHOICE: lambda inside, value, other: tf.where(inside > 0, value, other),
    **_FUNCTIONS,
}
_OF_MANY = ("min", "max")
# In ASCII text an offset in Python's tree, which counts bytes, is an offset in the text.
_STRANGE = re.compile(r"[^A-Za-z0-9_+\-*/(),. ]")
_PIECE_LENGTH = 30  # characters displayed of refused text


def parse_expression(
    text: str, known: Sequence[str], of_scenarios: Sequence[str] = ()
) -> Expression:
    """Reads a score from its text; the module's docstring has the grammar.

    >>> parse_expression("ctr * (2 + 1)", ["ctr"]).root
    Operation(name='*', operands=('ctr', 3.0))

    Args:
        text: At most `MAX_LENGTH` characters, its parts nested at most `MAX_DEPTH` deep; a sum of
            many terms nests as deep as it has terms.
        known: The names that it may read.
        of_scenarios: Those of them that are tasks of a scenario, among which it may choose.

    Raises:
        ConfigError: Anything else than such arithmetic, an unknown name, a part without names that
            is no finite float32, such as 1 / 0. The message names --rank_expression, the piece,
            its column counted from 1 at the first character that is not blank, and what was
            expected.
    """
    reader = _Reader(text.strip(), tuple(known), tuple(of_scenarios))
    return Expression(reader.text, reader.node(reader.parsed(), 1))


def names_in(expression: Expression) -> tuple[str, ...]:
    """Returns the names that a score reads, each once, in the order of the text.

    Tasks that it chooses by their scenario come with `INSIDE` and their name before them.

    >>> names_in(parse_expression("max(cvr, ctr) / cvr", ["ctr", "cvr"]))
    ('cvr', 'ctr')
    """
    return tuple(dict.fromkeys(_names(expression.root)))


def value_of(expression: Expression, names: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Computes a score, float32; infinite or NaN where arithmetic yields that.

    Args:
        expression: What to compute.
        names: Every name that it reads -> numbers of any dtype, whose shapes broadcast.

    Returns:
        Of the shape to which the names that are read broadcast; () where none is.
    """
    values = {name: tf.cast(names[name], tf.float32) for name in names_in(expression)}
    return _value(expression.root, values)


def _names(node: Node) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, Operation):
        for operand in node.operands:
            yield from _names(operand)


def _value(node: Node, values: Mapping[str, tf.Tensor]) -> tf.Tensor:
    if isinstance(node, Operation):
        return _COMPUTED[node.name](*(_value(operand, values) for operand in node.operands))
    # np.float32: TensorFlow caches Python floats and may replace -0 by 0.
    return values[node] if isinstance(node, str) else tf.constant(np.float32(node))


@dataclass(frozen=True)
class _Reader:
    """Turns a text into a tree, or refuses it."""

    text: str
    known: tuple[str, ...]
    of_scenarios: tuple[str, ...]

    def parsed(self) -> ast.expr:
        """Returns Python's tree of the text, which is not checked yet."""
        if len(self.text) > MAX_LENGTH:
            self.refuse(MAX_LENGTH, expected=f"at most {MAX_LENGTH} characters")
        strange = _STRANGE.search(self.text)
        if strange:
            self.refuse(strange.start(), strange.end())
        try:
            return ast.parse(self.text, mode="eval").body
        except SyntaxError as error:
            # Python gives column 0 to what is wrong at the end.
            self.refuse(error.offset - 1 if error.offset else len(self.text))
        except (MemoryError, RecursionError, ValueError):
            self.refuse(0, expected=f"parts nested at most {MAX_DEPTH} deep")

    def node(self, syntax: ast.expr, depth: int) -> Node:
        """Returns the tree of one part, which is `depth` deep."""
        if depth > MAX_DEPTH:
            self.refuse_part(syntax, f"parts nested at most {MAX_DEPTH} deep")
        if isinstance(syntax, ast.Constant):
            return self.number(syntax)
        if isinstance(syntax, ast.Name):
            if syntax.id not in self.known:
                self.refuse_part(syntax, f"one of the names {', '.join(self.known) or 'none'}")
            return syntax.id
        called = syntax.func if isinstance(syntax, ast.Call) else None
        if isinstance(called, ast.Name) and called.id == CHOICE:
            return self.choice(cast(ast.Call, syntax))

        name, parts = self.operation(syntax)
        operands = tuple(self.node(part, depth + 1) for part in parts)
        operation = Operation(name, operands)
        if not all(isinstance(operand, float) for operand in operands):
            return operation

        # Parts without names are computed here, so that what is not finite is refused.
        value = float(_value(operation, {}))
        if not math.isfinite(value):
            self.refuse_part(syntax, f"a finite float32, which {value} is not")
        return value

    def choice(self, syntax: ast.Call) -> Node:
        """Returns the tree of a choice among tasks by their scenario."""
        names = [part.id for part in syntax.args if isinstance(part, ast.Name)]
        all_known = len(names) == len(syntax.args) and set(names) <= set(self.of_scenarios)
        if not names or not all_known or syntax.keywords:
            tasks = ", ".join(self.of_scenarios) or "there is none"
            self.refuse_part(syntax, f"in parentheses tasks of scenarios ({tasks})")
        chosen: Node = math.nan  # of a candidate of none
        for name in reversed(names):
            chosen = Operation(CHOICE, (f"{INSIDE}{name}", name, chosen))
        return chosen

    def number(self, syntax: ast.Constant) -> float:
        if isinstance(syntax.value, bool) or not isinstance(syntax.value, int | float):
            self.refuse_part(syntax)
        # Compared before it becomes a float: a whole number may be too large for any.
        if abs(syntax.value) > LARGEST:
            self.refuse_part(syntax, "a finite float32")
        return float(syntax.value)

    def operation(self, syntax: ast.expr) -> tuple[str, list[ast.expr]]:
        """Returns an operation's name and its operands."""
        if isinstance(syntax, ast.BinOp) and type(syntax.op) in _OPERATORS:
            return _OPERATORS[type(syntax.op)], [syntax.left, syntax.right]
        if isinstance(syntax, ast.UnaryOp) and isinstance(syntax.op, ast.USub):
            return "negative", [syntax.operand]
        if not isinstance(syntax, ast.Call) or not isinstance(syntax.func, ast.Name):
            self.refuse_part(syntax)

        name = syntax.func.id
        if name not in _FUNCTIONS:
            self.refuse_part(syntax.func, f"one of the functions {', '.join(_FUNCTIONS)}")
        unnamed = [part for part in syntax.args if not isinstance(part, ast.Starred)]
        if len(unnamed) < len(syntax.args) or syntax.keywords:
            self.refuse_part(syntax, "values in parentheses, neither * nor ** before them")
        count = len(syntax.args)
        if count < 2 if name in _OF_MANY else count != 1:
            self.refuse_part(syntax, "2 values or more" if name in _OF_MANY else "1 value")
        return name, syntax.args

    def refuse_part(self, syntax: ast.expr, expected: str = "") -> NoReturn:
        self.refuse(syntax.col_offset, syntax.end_col_offset, expected)

    def refuse(self, start: int, end: int | None = None, expected: str = "") -> NoReturn:
        """Refuses the text from `start` to `end`, or to its end.

        Raises:
            ConfigError: Always.
        """
        piece = self.text[start:end]
        if len(piece) > _PIECE_LENGTH:
            piece = piece[:_PIECE_LENGTH] + "..."
        position = f"{piece!r} at column {start + 1}" if piece else "the end"
        names = f"the names {', '.join(self.known)}" if self.known else "no names"
        arithmetic = f"numbers, + - * / **, parentheses, {', '.join(_FUNCTIONS)} and {names}"
        raise ConfigError(
            f"--{FLAG}: found {position if self.text else 'nothing'}, expected "
            f"{expected or arithmetic}"
        )
