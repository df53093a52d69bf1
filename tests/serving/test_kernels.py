"""Kernels as they are stored, and as a loaded version multiplies with them."""

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.serving.kernels import Kernel, LoadedTensor, MaskedKernel, masked_kernel_bytes
from tests.support.versions import session_answers

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(13, 7)).astype(np.float32)
MASK = RNG.random((13, 7)) < 0.4
X = RNG.normal(size=(5, 13)).astype(np.float32)
ALL = np.arange(13), np.arange(7)


class Product(tf.Module):
    """The smallest served model with a kernel: x K."""

    def __init__(self, kernel, *tracked):
        super().__init__()
        self.kernel, self.tracked = kernel, list(tracked)

    @tf.function(input_signature=[tf.TensorSpec((None, 13), tf.float32, "x")])
    def serve(self, x):
        return {"y": self.kernel.product(x)}

    def save(self, folder):
        signatures = {"serving_default": self.serve.get_concrete_function()}
        tf.saved_model.save(self, str(folder), signatures=signatures)
        return folder


def worn(task="ctr", mask=MASK, dtype=tf.float32, inputs=ALL[0], units=ALL[1]):
    shared = MaskedKernel(WEIGHTS, dtype, "kernel_0")
    return shared, shared.part(task, mask, inputs, units)


def test_a_worn_kernel_multiplies_as_weights_times_mask():
    shared, part = worn()
    kernel = Kernel(part, "ctr_0")
    assert kernel.shape == (13, 7)
    np.testing.assert_allclose(kernel.product(tf.constant(X)), X @ (WEIGHTS * MASK), atol=1e-5)
    assert sorted(shared.bits) == ["ctr"]


def test_parts_of_it_are_picked_out():
    inputs, units = np.array([0, 4, 12]), np.array([1, 6])
    _, part = worn(inputs=inputs, units=units)
    kernel = Kernel(part, "part_0")
    expected = X[:, inputs] @ (WEIGHTS * MASK)[np.ix_(inputs, units)]
    np.testing.assert_allclose(kernel.product(tf.constant(X[:, inputs])), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_a_session_that_loads_a_version_finds_its_kernels_made(tmp_path, dtype):
    shared, part = worn(dtype=dtype)
    model = Product(Kernel(part, "ctr_0"), shared)
    folder = model.save(tmp_path / "1")
    answers = session_answers(folder, "serving_default", {"x": X})
    np.testing.assert_array_equal(answers["y"], model.serve(X)["y"])
    atol = 1e-5 if dtype == tf.float32 else 0.1
    np.testing.assert_allclose(answers["y"], X @ (WEIGHTS * MASK), atol=atol)
    stored = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    shapes = stored.get_variable_to_shape_map()
    held = sorted(tuple(shape) for shape in shapes.values() if shape)
    assert held == [(12,), (13, 7)]  # 91 bits, and the weights once


def test_versions_in_one_process_keep_their_own_kernels(tmp_path):
    answers = []
    for version, mask in enumerate((MASK, ~MASK)):
        shared, part = worn(mask=mask)
        Product(Kernel(part, "ctr_0"), shared).save(tmp_path / str(version))
    loaded = [tf.saved_model.load(str(tmp_path / str(version))) for version in (0, 1)]
    for model in loaded:
        answers.append(model.signatures["serving_default"](x=tf.constant(X))["y"].numpy())
    np.testing.assert_allclose(answers[0], X @ (WEIGHTS * MASK), atol=1e-5)
    np.testing.assert_allclose(answers[1], X @ (WEIGHTS * ~MASK), atol=1e-5)


def test_a_variable_is_multiplied_as_it_is():
    variable = tf.Variable(WEIGHTS)
    kernel = Kernel(variable, "k")
    np.testing.assert_allclose(kernel.product(tf.constant(X)), X @ WEIGHTS, atol=1e-5)
    variable.assign(2 * WEIGHTS)
    expected = 2 * X @ WEIGHTS
    np.testing.assert_allclose(kernel.product(tf.constant(X)), expected, atol=1e-5)


def test_an_empty_batch_and_an_empty_kernel_have_products():
    kernel = Kernel(tf.Variable(WEIGHTS), "k")
    assert kernel.product(tf.zeros((0, 13))).shape == (0, 7)
    nothing = Kernel(tf.Variable(np.zeros((13, 7), np.float32)), "zero")
    np.testing.assert_array_equal(nothing.product(tf.constant(X)), np.zeros((5, 7)))


def test_equal_names_with_other_content_are_other_tensors():
    one, two = (LoadedTensor(lambda value=value: tf.constant([value]), "t") for value in (1.0, 2.0))
    assert one.read().numpy().tolist() == [1.0]
    assert two.read().numpy().tolist() == [2.0]


def test_a_bit_a_weight_and_task_is_what_masks_take():
    shared, _ = worn()
    shared.part("cvr", ~MASK, *ALL)
    held = sum(v.numpy().nbytes for v in (shared.weights, *shared.bits.values()))
    assert held == masked_kernel_bytes((13, 7), tasks=2, size=4)
