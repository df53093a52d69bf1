"""The precision of a stage's products."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.core import artifacts
from lt4rec_tf.training import precision
from lt4rec_tf.training.plan import Plan
from lt4rec_tf.training.precision import computing_in, settled
from tests.support.networks import build_small, read_variables
from tests.support.training import small_trainer

HAS_UNITS = any(
    unit in Path("/proc/cpuinfo").read_text().split() for unit in ("amx_bf16", "avx512_bf16")
)


def product():
    """A fresh function, which the rewrite has not seen, and its float32 result."""
    rng = np.random.default_rng(0)
    x, kernel = (rng.normal(size=(64, 64)).astype(np.float32) for _ in range(2))

    @tf.function
    def multiply():
        return tf.nn.relu(tf.matmul(tf.constant(x) * 1.0, tf.constant(kernel) + 0.0 * x))

    return multiply, np.maximum(x @ kernel, 0)


def test_functions_compute_in_the_precision_of_their_call():
    multiply, exact = product()
    np.testing.assert_allclose(multiply(), exact, rtol=1e-4, atol=1e-4)
    with computing_in("float32"):
        np.testing.assert_allclose(multiply(), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("left_by", ["end", "exception"])
def test_the_precision_is_put_back(left_by):
    name = "auto_mixed_precision_onednn_bfloat16"
    try:
        with computing_in("bfloat16"):
            assert tf.config.optimizer.get_experimental_options()[name]
            with computing_in("float32"):
                assert not tf.config.optimizer.get_experimental_options()[name]
            assert tf.config.optimizer.get_experimental_options()[name]
            if left_by == "exception":
                raise KeyError
    except KeyError:
        pass
    assert not tf.config.optimizer.get_experimental_options()[name]


@pytest.mark.skipif(not HAS_UNITS, reason="this processor has no units for bfloat16")
def test_a_stage_in_bfloat16_learns_nearly_the_same_in_float32_weights(small_schema, tmp_path):
    weights, results = {}, {}
    for name in ("float32", "bfloat16"):
        network = build_small(small_schema, hidden_units=(64, 32))
        trainer = small_trainer(network, small_schema, schedule="both", precision=name)
        results[name] = trainer.fit(tmp_path / name, name, Plan(epochs=2, keep_last=True))
        weights[name] = read_variables(network)

    different = 0
    for variable, exact in weights["float32"].items():
        rough = weights["bfloat16"][variable]
        assert rough.dtype == np.float32
        assert np.abs(rough - exact).mean() < 0.01, variable
        different += (rough != exact).sum()
    assert different > 100  # it was not float32 by mistake

    losses = [results[name]["validation_loss"] for name in weights]
    for task in ("ctr", "cvr"):
        assert losses[1][task] == pytest.approx(losses[0][task], rel=0.01)


def test_what_is_said_is_used(tmp_path):
    assert settled("float32", tmp_path) == "float32"
    assert settled("bfloat16", tmp_path) == "bfloat16"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("ratio", "chosen"), [(4.0, "bfloat16"), (1.5, "bfloat16"), (0.7, "float32")]
)
def test_auto_measures_once_a_run(tmp_path, monkeypatch, ratio, chosen):
    monkeypatch.setattr(precision, "product_ratio", lambda: ratio)
    assert settled("auto", tmp_path) == chosen
    record = {"precision": chosen, "bfloat16_is_faster_by": ratio}
    assert artifacts.read_json(tmp_path / "precision.json") == record
    monkeypatch.setattr(precision, "product_ratio", lambda: 1 / ratio)  # another machine goes on
    assert settled("auto", tmp_path) == chosen


def test_the_ratio_is_measured():
    assert 0.01 < precision.product_ratio() < 100
    if "amx_bf16" in Path("/proc/cpuinfo").read_text().split():
        assert precision.product_ratio() > 1
