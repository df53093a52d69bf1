"""Requests that a load test makes up from a signature alone."""

import importlib
import itertools

import pytest

from tests.support.paths import PROJECT

USER, AGE = ("user", "string"), ("age", "int64")
TAGS, LENGTH = ("tags", "string", True), ("length", "float32")


@pytest.fixture
def made(monkeypatch):
    """Makes up the first requests of a kind of signature of four features."""
    monkeypatch.syspath_prepend(str(PROJECT / "export"))
    make_up = importlib.import_module("made_up").make_up
    signatures = importlib.import_module("signature")

    def some(kind, *sizes, places=0, count=2):
        of_candidate = kind == "candidates"
        features = (
            signatures.Feature(*USER),
            signatures.Feature(*AGE),
            signatures.Feature(*TAGS, of_candidate=of_candidate),
            signatures.Feature(*LENGTH, of_candidate=of_candidate),
        )
        signature = signatures.Signature("any", kind, features, ())
        return list(itertools.islice(make_up(signature, sizes, places), count))

    return some


def test_rows_have_a_value_of_each_features_dtype(made):
    (request,) = made("rows", 50, count=1)
    assert (len(request.rows), request.candidates, request.examples) == (50, 0, ())
    inputs = request.inputs
    assert {name: len(values) for name, values in inputs.items()} == dict.fromkeys(inputs, 50)
    assert all(text.startswith("load_test_") for text in inputs["user"])
    assert all(type(age) is int and 0 <= age <= 999 for age in inputs["age"])
    assert all(type(length) is float and 1 <= length <= 100 for length in inputs["length"])
    assert all(len(tags) == 3 and tags[0].startswith("load_test_") for tags in inputs["tags"])
    assert len(set(inputs["user"])) > 25  # not one row over and over


def test_candidates_share_their_request(made):
    first, second, third = made("candidates", 2, 5, places=4, count=3)
    assert [r.candidates for r in (first, second, third)] == [2, 5, 2]
    for request in (first, second, third):
        inputs = request.inputs
        assert (len(inputs["user"]), len(inputs["age"])) == (1, 1)
        assert [len(inputs["length"]), len(inputs["length"][0])] == [1, request.candidates]
        assert [len(tags) for tags in inputs["tags"][0]] == [4] * request.candidates
        assert len(request.rows) == request.candidates
    assert first.inputs["length"] != third.inputs["length"]


@pytest.mark.parametrize("kind", ["regress", "examples"])
def test_examples_are_one_a_row(made, kind):
    (request,) = made(kind, 3, count=1)
    assert request.inputs is None
    assert [sorted(example) for example in request.examples] == [
        ["age", "length", "tags", "user"]
    ] * 3


def test_they_are_the_same_each_time(made):
    assert made("rows", 4) == made("rows", 4)
