"""Tickets of a run's models, read back without its network."""

import numpy as np
import pytest

from lt4rec_tf.core import artifacts
from lt4rec_tf.experiment.paths import CHOICE, model_folder, model_masks
from lt4rec_tf.experiment.report import draw_run
from lt4rec_tf.experiment.shared_tickets import drawn_tickets, input_shares, shared_masks
from lt4rec_tf.models.registry import network_of
from lt4rec_tf.tickets.masks import MaskError, write_masks
from tests.support.training import small_settings


def write_tickets(folder, network):
    """Each task keeps the units of its number of the first layer, and of a first input."""
    for number, task in enumerate(network.tasks, 1):
        masks = {name: np.ones(shape, bool) for name, shape in network.kernel_shapes(task).items()}
        masks["tower_0"][:, number:] = False
        masks["tower_0"][: 2 * number] = False
        write_masks(model_masks(folder, task), masks)


@pytest.mark.parametrize("cross", ["gram", "triangle", "dcn_v2", "none"])
def test_tickets_fit_the_network_of_every_cross_layer(small_schema, tmp_path, cross):
    settings = small_settings("--models=s_joint", f"--cross={cross}")
    network = network_of(settings, small_schema, "s_joint")
    write_tickets(model_folder(tmp_path, "s_joint"), network)
    found = shared_masks(tmp_path, "s_joint", settings, small_schema)
    assert [*found] == ["ctr", "cvr"]
    for task, masks in found.items():
        assert {n: m.shape for n, m in masks.items()} == network.kernel_shapes(task)

    shares = input_shares("s_joint", found, settings, small_schema)
    assert shares.fields == [feature.name for feature in small_schema.features]
    # All of a group's inputs, or the part that is not cut, times 1 and 2 of 8 units.
    kept = {task: max(of_task.values()) for task, of_task in shares.shares.items()}
    assert kept == {"ctr": 1 / 8, "cvr": 2 / 8}
    assert min(shares.shares["cvr"].values()) < 2 / 8


def test_other_models_single_tasks_and_separate_towers_have_none(small_schema, tmp_path):
    settings = small_settings("--models=base,hard_sharing,s_weight_auto")
    assert shared_masks(tmp_path, "hard_sharing", settings, small_schema) == {}
    alone = small_schema.with_tasks(["ctr"])
    assert shared_masks(tmp_path, "s_weight_auto", settings, alone) == {}
    chosen(tmp_path, "separate_1_1", separate=True)
    assert shared_masks(tmp_path, "s_weight_auto", settings, small_schema) == {}


def chosen(folder, name, *, separate):
    way = {"name": name, "separate": separate, "levels": [1, 1], "gain": 0.1, "seconds": 1.0}
    path = model_folder(folder, "s_weight_auto") / CHOICE
    artifacts.write_json(path, {"chosen": name, "tried": [way]})


def test_s_weight_auto_has_the_tickets_of_the_chosen_way(small_schema, tmp_path):
    settings = small_settings("--models=s_weight_auto")
    chosen(tmp_path, "shared_1_1", separate=False)
    with pytest.raises(MaskError, match="shared_1_1"):
        shared_masks(tmp_path, "s_weight_auto", settings, small_schema)
    network = network_of(settings, small_schema, "s_weight")
    write_tickets(model_folder(tmp_path, "s_weight_auto") / "shared_1_1", network)
    assert shared_masks(tmp_path, "s_weight_auto", settings, small_schema)["cvr"]["tower_0"].any()


def test_drawn_are_the_tickets_of_the_first_model_to_export_that_shares_a_tower(
    small_schema, tmp_path
):
    settings = small_settings("--models=s_weight,s_weight_auto,s_joint")
    network = network_of(settings, small_schema, "s_weight")
    for model in ("s_weight", "s_joint"):
        write_tickets(model_folder(tmp_path, model), network)
    chosen(tmp_path, "separate_1_1", separate=True)
    assert drawn_tickets(tmp_path, settings, small_schema)[0] == "s_joint"
    settings = small_settings("--models=s_weight,s_weight_auto")
    model, masks = drawn_tickets(tmp_path, settings, small_schema)
    assert (model, [*masks]) == ("s_weight", ["ctr", "cvr"])
    settings = small_settings("--models=base,s_weight_auto")
    assert drawn_tickets(tmp_path, settings, small_schema) == ("", {})


def test_a_run_without_searches_draws_the_exported_models_tickets(small_schema, tmp_path):
    settings = small_settings("--models=s_joint")
    network = network_of(settings, small_schema, "s_joint")
    write_tickets(model_folder(tmp_path, "s_joint"), network)
    evaluation = {"tasks": [], "rows": [], "searches": {}, "tables": None}
    pictures = draw_run(settings, small_schema, tmp_path, [], evaluation, "s_joint")
    assert [path.name for path in pictures] == ["overlap.png", "fields.png"]
    assert all(path.stat().st_size for path in pictures)
