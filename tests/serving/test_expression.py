"""Scores written as arithmetic: values beside NumPy's, and everything else that is refused."""

import ast
import functools
import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given
from hypothesis import strategies as st

from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.serving.expression import (
    MAX_DEPTH,
    MAX_LENGTH,
    Expression,
    Operation,
    names_in,
    parse_expression,
    value_of,
)

NAMES = {
    "ctr": np.array([[0.25, 0.5, 1.0]], np.float32),
    "cvr": np.array([[0.125], [0.75]], np.float32),
    "watch_time": np.array([[-2.0, 0.0, 300.0], [1.5, 7.0, 0.0625]], np.float32),
}


def value(text, names=NAMES):
    tensors = {name: tf.constant(values) for name, values in names.items()}
    return value_of(parse_expression(text, list(names)), tensors).numpy()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 - 3 / -(2 - 4)", -0.5),
        ("2 + 3 * 4", 14.0),
        ("(2 + 3) * 4", 20.0),
        ("7 - 2 - 1", 4.0),
        ("8 / 4 / 2", 1.0),
        ("2 ** 3 ** 2", 512.0),
        ("-3 ** 2", -9.0),
        ("2 ** -1", 0.5),
        ("--1", 1.0),
        ("1e2 + .5 + 1_0", 110.5),
        ("log(exp(2))", 2.0),
        ("log1p(0.5)", math.log(1.5)),
        ("sqrt(16)", 4.0),
        ("min(3, 1, 2) + 10 * max(3, 5)", 51.0),
        ("  1 + 1 ", 2.0),
        ("((((((3))))))", 3.0),
    ],
)
def test_numbers_alone_are_what_python_says(text, expected):
    assert value(text) == pytest.approx(expected, rel=1e-6)
    assert isinstance(parse_expression(text, []).root, float)


def test_names_stand_for_tensors_whose_shapes_broadcast():
    found = value("ctr * (0.3 * cvr + log1p(max(watch_time, 0)))")
    ctr, cvr, watch_time = (NAMES[name].astype(np.float64) for name in NAMES)
    expected = ctr * (0.3 * cvr + np.log1p(np.maximum(watch_time, 0)))
    assert (found.dtype, found.shape) == (np.float32, (2, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_zero_keeps_its_sign():
    assert value("ctr / 0").min() == np.inf
    assert value("ctr / -0").max() == -np.inf


def test_bfloat16_is_computed_in_float32():
    low = tf.constant([1.0, 3.0], tf.bfloat16)
    found = value_of(parse_expression("ctr + 1 / 1024", ["ctr"]), {"ctr": low})
    assert found.dtype == tf.float32
    # With bfloat16's 8 bits the sums would be 1 and 3.
    np.testing.assert_array_equal(found, np.array([1 + 2**-10, 3 + 2**-10]))


@pytest.mark.parametrize("text", ["log(zero)", "one / zero", "zero / zero", "sqrt(-one)"])
def test_what_arithmetic_does_not_know_is_infinite_or_nan(text):
    found = value(text, {"zero": np.zeros(1, np.float32), "one": np.ones(1, np.float32)})
    assert not np.isfinite(found).any()


def test_the_tree_holds_the_text_and_folds_what_has_no_names():
    found = parse_expression(" ctr * (1 + 2)\n", ["ctr"])
    assert found == Expression("ctr * (1 + 2)", Operation("*", ("ctr", 3.0)))
    assert names_in(found) == ("ctr",)
    assert names_in(parse_expression("cvr / (ctr - cvr)", ["ctr", "cvr"])) == ("cvr", "ctr")
    assert names_in(parse_expression("1", ["ctr"])) == ()
    # A name and a function may share theirs: parentheses tell them apart.
    assert names_in(parse_expression("log(log)", ["log"])) == ("log",)


def refusal(text, known=("ctr", "cvr")):
    with pytest.raises(ConfigError) as caught:
        parse_expression(text, known)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "piece", "column"),
    [
        ("2 * ctr.real", "ctr.real", 5),
        ("().__class__", "().__class__", 1),
        ("lambda: 1", ":", 7),
        ("[ctr]", "[", 1),
        ("(x for x in ctr)", "(x for x in ctr)", 1),
        ("{ctr}", "{", 1),
        ("ctr[0]", "[", 4),
        ("1 + ctr < cvr", "<", 9),
        ("ctr == cvr", "=", 5),
        ("'ctr'", "'", 1),
        ('"ctr"', '"', 1),
        ("ctr // 2", "ctr // 2", 1),
        ("ctr % 2", "%", 5),
        ("ctr @ cvr", "@", 5),
        ("ctr ^ 2", "^", 5),
        ("~ctr", "~", 1),
        ("+ctr", "+ctr", 1),
        ("not ctr", "not ctr", 1),
        ("ctr and cvr", "ctr and cvr", 1),
        ("ctr in cvr", "ctr in cvr", 1),
        ("ctr if cvr else 1", "ctr if cvr else 1", 1),
        ("(yield)", "yield", 2),
        ("(ctr := 1)", ":", 6),
        ("ctr, cvr", "ctr, cvr", 1),
        ("()", "()", 1),
        ("...", "...", 1),
        ("True", "True", 1),
        ("None", "None", 1),
        ("1 + 2j", "2j", 5),
        ("(1)(2)", "(1)(2)", 1),
        ("log(ctr)(1)", "log(ctr)(1)", 1),
        ("ctr # note", "#", 5),
        ("ctr +\n cvr", "\n", 6),
        ("ctr\0", "\0", 4),
        ("\u0441tr", "\u0441", 1),  # a Cyrillic letter that looks Latin
        ("import os", "import os", 1),
        ("2 ctr", "ctr", 3),
        ("log(ctr cvr)", "ctr cvr)", 5),
        ("ctr)", ")", 4),
        ("(ctr", "(ctr", 1),
        ("07", "07", 1),
    ],
)
def test_all_but_arithmetic_is_refused_with_its_column(text, piece, column):
    message = refusal(text)
    assert message.startswith(f"--rank_expression: found {piece!r} at column {column}, expected ")
    assert message.endswith(
        "numbers, + - * / **, parentheses, log, log1p, exp, sqrt, min, max and the names ctr, cvr"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found nothing, expected numbers"),
        ("  ", "found nothing, expected numbers"),
        ("ctr *", "found the end, expected numbers"),
        ("lambda", "found the end, expected numbers"),
        ("ctr * share", "found 'share' at column 7, expected one of the names ctr, cvr"),
        ("log", "found 'log' at column 1, expected one of the names ctr, cvr"),
        ("1 + __import__(ctr)", "found '__import__' at column 5, expected one of the functions"),
        ("eval(ctr)", "found 'eval' at column 1, expected one of the functions log, log1p"),
        ("(ctr)(1)", "found 'ctr' at column 2, expected one of the functions"),
        ("log()", "found 'log()' at column 1, expected 1 value"),
        ("log(ctr, 2)", "found 'log(ctr, 2)' at column 1, expected 1 value"),
        ("min(ctr)", "found 'min(ctr)' at column 1, expected 2 values or more"),
        ("min(x=ctr)", "found '=' at column 6"),
        ("min(*ctr, 1)", "expected values in parentheses, neither * nor ** before them"),
        ("min(ctr, 1, **cvr)", "expected values in parentheses, neither * nor ** before them"),
        ("2 * 9 ** 9 ** 9", "found '9 ** 9 ** 9' at column 5, expected a finite float32"),
        ("ctr + 1 / 0", "found '1 / 0' at column 7, expected a finite float32, which inf"),
        ("log(0)", "found 'log(0)' at column 1, expected a finite float32, which -inf"),
        ("sqrt(-1)", "found 'sqrt(-1)' at column 1, expected a finite float32, which nan"),
        ("1e39", "found '1e39' at column 1, expected a finite float32"),
        ("1e999", "found '1e999' at column 1, expected a finite float32"),
        ("9" * 900, f"found '{'9' * 30}...' at column 1, expected a finite float32"),
    ],
)
def test_arithmetic_that_cannot_be_computed_is_refused(text, message):
    assert message in refusal(text)


def test_a_text_without_names_may_hold_numbers_alone():
    assert "expected one of the names none" in refusal("ctr", known=())
    assert "max and no names" in refusal("", known=())


def test_length_and_depth_have_limits():
    text = "ctr".ljust(MAX_LENGTH - 2) + "+1"
    assert names_in(parse_expression(text, ["ctr"])) == ("ctr",)
    assert f"at most {MAX_LENGTH} characters" in refusal(text + "2")
    deepest = "log1p(" * (MAX_DEPTH - 1) + "ctr" + ")" * (MAX_DEPTH - 1)
    assert value(deepest, {"ctr": np.float32(0)}) == 0
    assert f"nested at most {MAX_DEPTH} deep" in refusal(f"exp({deepest})")
    assert f"nested at most {MAX_DEPTH} deep" in refusal("+".join(["ctr"] * (MAX_DEPTH + 1)))


@pytest.mark.parametrize("opening", ["(", "-", "log(", "2 ** ", "min(1, ", "not ", "1 + (", "(1, "])
def test_depth_beyond_pythons_own_is_refused(opening):
    refusal((opening * MAX_LENGTH)[: MAX_LENGTH - 3] + "ctr")


@given(st.text(max_size=30) | st.text("ctrlog1pmin.e0+-*/(), ", max_size=30))
def test_a_text_is_arithmetic_or_refused(text):
    try:
        found = parse_expression(text, ["ctr"])
    except ConfigError:  # the only error that there may be
        return
    assert value_of(found, {"ctr": tf.constant(0.5)}).shape == ()


# Trees are drawn as Python's own, which `ast.unparse` writes with no more parentheses than needed.
LEAVES = st.sampled_from([ast.Name(name) for name in NAMES]) | st.sampled_from(
    [ast.Constant(number) for number in (0, 3, 0.25, 1e-3, 300)]
)


def called(name, *parts):
    return ast.Call(ast.Name(name), list(parts), [])


def larger(parts):
    """One operation more, of those that float32 computes alike everywhere."""
    operators = st.sampled_from([ast.Add(), ast.Sub(), ast.Mult(), ast.Div()])
    return (
        st.builds(ast.BinOp, parts, operators, parts)
        | st.builds(ast.UnaryOp, st.just(ast.USub()), parts)
        | st.builds(called, st.sampled_from(["min", "max"]), parts, parts)
        | st.builds(called, st.sampled_from(["min", "max"]), parts, parts, parts)
    )


TREES = st.recursive(LEAVES, larger, max_leaves=8)
NUMPY = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Pow: np.power,
    "log": np.log,
    "log1p": np.log1p,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "min": lambda *parts: functools.reduce(np.minimum, parts),
    "max": lambda *parts: functools.reduce(np.maximum, parts),
}


def by_numpy(tree):
    """(what NumPy says in float32, whether every part without names is finite)."""
    if isinstance(tree, ast.Constant):
        return np.float32(tree.value), True
    if isinstance(tree, ast.Name):
        return NAMES[tree.id], True
    if isinstance(tree, ast.UnaryOp):
        name, parts = "negative", [tree.operand]
    elif isinstance(tree, ast.BinOp):
        name, parts = type(tree.op), [tree.left, tree.right]
    else:
        name, parts = tree.func.id, tree.args
    values, sound = zip(*map(by_numpy, parts), strict=True)
    if name in ("min", "max"):
        for one, other in itertools.combinations(values, 2):
            zeros = (one == 0) & (other == 0)
            # Which of 0 and -0 is less IEEE 754 leaves open, and 1 / them are worlds apart.
            assume(not np.any(zeros & (np.signbit(one) != np.signbit(other))))
    with np.errstate(all="ignore"):
        found = (NUMPY | {"negative": np.negative})[name](*values)
    return found, all(sound) and (np.ndim(found) > 0 or bool(np.isfinite(found)))


def check_as_numpy(tree, rtol):
    expected, sound = by_numpy(tree)
    text = ast.unparse(tree)
    if not sound:
        assert "expected a finite float32" in refusal(text, list(NAMES))
        return
    # TensorFlow takes 0 for numbers below 1.2e-38, NumPy does not.
    np.testing.assert_allclose(value(text), expected, rtol=rtol, atol=1e-37)


@given(TREES)
def test_random_trees_are_what_numpy_says(tree):
    check_as_numpy(tree, rtol=0)


@given(st.sampled_from(["log", "log1p", "exp", "sqrt"]), TREES)
def test_functions_of_random_trees_are_what_numpy_says(name, tree):
    check_as_numpy(called(name, tree), rtol=1e-5)


@given(TREES, LEAVES)
def test_powers_of_random_trees_are_what_numpy_says(tree, exponent):
    check_as_numpy(ast.BinOp(tree, ast.Pow(), exponent), rtol=1e-5)
