"""Requests from real rows: what they hold of users."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.serving.rank import Ranking
from lt4rec_tf.serving.requests import rank_request, requests_of, user_ids, without_users
from lt4rec_tf.serving.signatures import ServedModel
from tests.support.paths import PROJECT
from tests.support.served_networks import raw_rows


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ("simulated_feed", ("user_id",)),
        ("kuairand_feedback", ("user_id",)),
    ],
)
def test_features_that_name_a_user_are_known(schema, named):
    assert user_ids(load_schema(PROJECT / "configs" / "schemas" / f"{schema}.toml")) == named


def test_without_a_column_of_users_open_ended_ids_may_name_one(small_schema):
    assert user_ids(dataclasses.replace(small_schema, user=None)) == ("user",)  # age is a number


def test_requests_without_users_hold_all_else_as_it_was(small_schema, small_network):
    ranking = Ranking({"ctr": 1.0})
    signatures = ServedModel(small_network, small_schema, ranking=ranking).signatures(
        "serving_default", "tf_example", "regress_ctr", "rank"
    )
    raw = raw_rows(small_schema, 12)
    raw["user"] = np.array([f"u{row}".encode() for row in range(12)], object)
    requests = requests_of(small_schema, signatures, raw)
    requests["rank"], _ = rank_request(small_schema, ranking, raw, 3)
    assert user_ids(small_schema) == ("user",)

    found = without_users(small_schema, requests)
    assert {name: [*inputs] for name, inputs in found.items()} == {
        name: [*inputs] for name, inputs in requests.items()
    }
    for signature in ("serving_default", "rank"):
        for name, values in found[signature].items():
            if name == "user":
                assert set(values.tolist()) == {b""}
                assert values.shape == requests[signature][name].shape
            else:
                np.testing.assert_array_equal(values, requests[signature][name])
    for signature in ("tf_example", "regress_ctr"):
        (before,), (after,) = (r[signature].values() for r in (requests, found))
        for one, other in zip(before, after, strict=True):
            whole, rest = (tf.train.Example.FromString(text) for text in (one, other))
            assert "user" in whole.features.feature
            del whole.features.feature["user"]
            assert rest == whole
    assert raw["user"][0] == b"u0"
