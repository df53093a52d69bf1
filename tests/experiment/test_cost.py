"""Costs against counts by hand on the small schema: 5 fields of 4 numbers."""

import numpy as np
import pytest

from lt4rec_tf.experiment.comparison.cost import cost_of
from tests.support.networks import build_model, build_small, build_with_own_views
from tests.support.training import random_masks

FIELDS, DIMENSION = 5, 4
# The hash tables of 20, 30 and 10 buckets have a row for "missing" each; the numeric one has 2.
TABLE = ((20 + 1) + (30 + 1) + (10 + 1) + 2) * DIMENSION
GRAM = FIELDS * FIELDS + FIELDS * DIMENSION  # LT4REC: the field vectors beside their products
HIDDEN = (8, 4)


def kernels(inputs, units):
    return sum(a * b for a, b in zip((inputs, *units), units, strict=False))


def tower(inputs, units=HIDDEN):
    """Kernels, biases, head and the head's bias."""
    return kernels(inputs, units) + sum(units) + units[-1] + 1


def test_a_dense_shared_tower_counts_once(small_network):
    found = cost_of(small_network)
    head = HIDDEN[-1] + 1
    assert found == {
        "trained_parameters": TABLE + tower(GRAM) + head,
        "table_bytes": 4 * TABLE,
        "alive_parameters": {"ctr": tower(GRAM), "cvr": tower(GRAM)},
        "multiply_adds": kernels(GRAM, HIDDEN) + 2 * HIDDEN[-1],
    }


def test_the_kernels_of_a_cross_layer_are_trained_but_lie_below_what_is_counted(small_schema):
    network = build_small(small_schema, cross="dcn_v2")
    width = FIELDS * DIMENSION
    inputs = network.bottom.output_shape[-1]
    found = cost_of(network)
    cross = sum(v.shape.num_elements() for n, v in network.variables.items() if "cross" in n)
    assert cross == 2 * (width * width + width)  # two layers
    assert found["trained_parameters"] == TABLE + cross + tower(inputs) + HIDDEN[-1] + 1
    assert found["multiply_adds"] == kernels(inputs, HIDDEN) + 2 * HIDDEN[-1]


def test_separate_towers_are_all_trained_and_each_task_reads_its_own(small_schema):
    network = build_small(small_schema, separate_towers=True)
    assert cost_of(network) == {
        "trained_parameters": TABLE + 2 * tower(GRAM),
        "table_bytes": 4 * TABLE,
        "alive_parameters": {"ctr": tower(GRAM), "cvr": tower(GRAM)},
        "multiply_adds": 2 * (kernels(GRAM, HIDDEN) + HIDDEN[-1]),
    }


def test_a_single_task_is_one_tower(small_schema):
    network = build_small(small_schema.with_tasks(["cvr"]))
    assert cost_of(network) == {
        "trained_parameters": TABLE + tower(GRAM),
        "table_bytes": 4 * TABLE,
        "alive_parameters": {"cvr": tower(GRAM)},
        "multiply_adds": kernels(GRAM, HIDDEN) + HIDDEN[-1],
    }


def wear_first(network, task, *kept):
    """Masks that keep the first so many weights of each kernel."""
    masks = {}
    for (name, shape), alive in zip(network.kernel_shapes(task).items(), kept, strict=True):
        masks[name] = (np.arange(np.prod(shape)) < alive).reshape(shape)
    network.wear(task, masks)


def test_cut_weights_cost_nothing(small_network):
    dense = cost_of(small_network)
    wear_first(small_network, "ctr", 50, 20)
    wear_first(small_network, "cvr", 30, 10)
    found = cost_of(small_network)
    beside = sum(HIDDEN) + HIDDEN[-1] + 1  # biases and head
    assert found == {
        "trained_parameters": dense["trained_parameters"],
        "table_bytes": 4 * TABLE,
        "alive_parameters": {"ctr": 50 + 20 + beside, "cvr": 30 + 10 + beside},
        "multiply_adds": 50 + 20 + 30 + 10 + 2 * HIDDEN[-1],
    }


def test_layers_that_tasks_compute_alike_count_once(small_network):
    wear_first(small_network, "ctr", 50, 20)
    wear_first(small_network, "cvr", 50, 10)
    assert cost_of(small_network)["multiply_adds"] == 50 + 20 + 10 + 2 * HIDDEN[-1]
    wear_first(small_network, "cvr", 50, 20)
    assert cost_of(small_network)["multiply_adds"] == 50 + 20 + 2 * HIDDEN[-1]


def test_equal_masks_on_unequal_inputs_count_for_each_task(small_network):
    wear_first(small_network, "ctr", 50, 20)
    wear_first(small_network, "cvr", 30, 20)
    assert cost_of(small_network)["multiply_adds"] == 50 + 20 + 30 + 20 + 2 * HIDDEN[-1]


def test_equal_masks_on_separate_kernels_count_for_each_task(small_schema):
    network = build_small(small_schema, separate_towers=True)
    for task in network.tasks:
        wear_first(network, task, 50, 20)
    assert cost_of(network)["multiply_adds"] == 2 * (50 + 20 + HIDDEN[-1])


def test_a_view_of_its_own_is_read_by_one_task(small_schema):
    network = build_with_own_views({"cvr": 3}, small_schema)
    own = FIELDS * 3 * HIDDEN[0]
    found = cost_of(network)
    assert found["alive_parameters"] == {"ctr": tower(GRAM), "cvr": tower(GRAM) + own}
    assert found["trained_parameters"] == (
        TABLE + TABLE // DIMENSION * 3 + tower(GRAM) + HIDDEN[-1] + 1 + own
    )


def test_a_view_of_its_own_parts_the_towers(small_schema):
    """The masks are alike, what the first layer adds is not: each task computes its own tower."""
    network = build_with_own_views({"cvr": 3}, small_schema)
    own = FIELDS * 3 * HIDDEN[0]
    assert cost_of(network)["multiply_adds"] == 2 * (kernels(GRAM, HIDDEN) + HIDDEN[-1]) + own


@pytest.mark.parametrize("name", ["escm2_dr", "dcmt"])
def test_what_a_loss_alone_reads_is_trained_and_costs_a_prediction_nothing(small_schema, name):
    found, esmm = (cost_of(build_model(model, small_schema)) for model in (name, "esmm"))
    assert found.pop("trained_parameters") > esmm.pop("trained_parameters")
    assert found == esmm


@pytest.mark.parametrize("name", ["esmm", "mmoe", "ple", "aitm"])
def test_models_without_masks_count_every_kernel(small_schema, name):
    network = build_model(name, small_schema)
    found = cost_of(network)
    total = {name: int(np.prod(v.shape)) for name, v in network.variables.items()}
    assert found["trained_parameters"] == sum(total.values())
    above = {n: size for n, size in total.items() if n != "embedding/table"}
    expected = sum(s for n, s in above.items() if n.endswith("kernel"))
    if name == "aitm":  # its transfer multiplies two units by query, key and value
        expected += 3 * 4 * 4
    assert found["multiply_adds"] == expected
    for task, alive in found["alive_parameters"].items():
        assert alive < sum(above.values()), task  # the other task's head is not its own


def test_alive_parameters_of_mmoe_by_hand(small_schema):
    network = build_model("mmoe", small_schema, hidden_units=(8, 6, 4))
    experts = 3 * (GRAM * 8 + 8 + 8 * 6 + 6)
    one = experts + GRAM * 3 + (6 * 4 + 4) + (4 + 1)  # gate without bias, tower, head
    found = cost_of(network)
    assert found["alive_parameters"] == {"ctr": one, "cvr": one}
    assert found["multiply_adds"] == (3 * (GRAM * 8 + 8 * 6) + 2 * (GRAM * 3 + 6 * 4 + 4))


def test_random_masks_count_their_alive_weights(small_network):
    for seed, task in enumerate(small_network.tasks):
        small_network.wear(task, random_masks(small_network, task, seed))
    found = cost_of(small_network)
    beside = sum(HIDDEN) + HIDDEN[-1] + 1
    for task in small_network.tasks:
        alive = sum(int(mask.sum()) for mask in small_network.masks(task).values())
        assert found["alive_parameters"][task] == alive + beside
