"""Runs whose tickets cover the attention too: searched, learned, resumed, reported, refused."""

import numpy as np
import pytest

from lt4rec_tf.config.parse import parse, to_dict
from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.experiment import joint_training, sharing_search
from lt4rec_tf.experiment.comparison.cost import cost_of
from lt4rec_tf.experiment.model_checks import check_models
from lt4rec_tf.experiment.shared_tickets import attention_shares, input_shares, shared_masks
from lt4rec_tf.experiment.ticket_search import find_ticket, level_masks, read_ticket
from lt4rec_tf.experiment.trained_models import load_model, shared_overlap, task_masks
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.models.registry import network_of
from lt4rec_tf.tickets.masks import density, overlap
from lt4rec_tf.tickets.parts import of_attention, of_towers, parts_of
from tests.support.networks import build_masked
from tests.support.schemas import watched_schema
from tests.support.training import (
    STEPS,
    Killed,
    KilledProgress,
    assert_same_logits,
    begin_run,
    random_masks,
    small_settings,
)

pytestmark = pytest.mark.slow(minutes=1)

FLAGS = ("--mask_attention", "--final_density=0.25", "--gate_epochs=2", "--attention_units=6,3")
# The attention's hidden kernels: two lists of 4 numbers, one candidate; 6 and 3 units.
UNIT = {"event_kernel": 8 * 6, "candidate_kernel": 4 * 6, "product_kernel": 4 * 6, "kernel_1": 18}


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    return watched_schema(tmp_path_factory.mktemp("schema"))


def begin(schema, folder, *flags, progress=None):
    return begin_run(small_settings(*FLAGS, *flags), schema, folder, progress)


def trained_model(schema, folder, model, *flags):
    """A run whose model is trained, with the tickets that this needs."""
    run, network = begin(schema, folder, f"--models={model}", *flags)
    tickets = []
    if model != "s_gates":
        tickets = [find_ticket(run, network, task) for task in run.tasks]
    sharing_search.train_models(run, tickets)
    return run, tickets


@pytest.fixture(scope="module")
def learned(schema, tmp_path_factory):
    run, _ = trained_model(schema, tmp_path_factory.mktemp("gates"), "s_gates")
    return run


@pytest.fixture(scope="module")
def searched(schema, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    return trained_model(schema, folder, "s_weight", "--rounds=2")


def is_cut_alike(masks, share):
    """Each part keeps the same share of its own weights."""
    kept = [(sum(int(m.sum()) for m in p.values()), p) for p in parts_of(masks)]
    return all(count == round(share * sum(m.size for m in p.values())) for count, p in kept)


def test_learned_tickets_cover_the_attention(learned):
    network = load_model(learned.folder, "s_gates", learned.settings, learned.schema)
    masks = task_masks(network)
    for of_task in masks.values():
        unit = of_attention(of_task, "watched")
        assert {name: mask.size for name, mask in unit.items()} == UNIT
        assert is_cut_alike(of_task, 0.25)
        assert len(parts_of(of_task)) == 2
    units = [of_attention(of_task, "watched") for of_task in masks.values()]
    assert overlap(units) < 1


def test_levels_of_a_search_cut_the_attention_to_the_tower_s_density(searched):
    run, tickets = searched
    for ticket in tickets:
        for level, masks in zip(ticket.levels, level_masks(ticket), strict=True):
            assert is_cut_alike(masks, 0.25 ** (level.level / 2))
    network = load_model(run.folder, "s_weight", run.settings, run.schema)
    for ticket in tickets:
        for name, mask in network.masks(ticket.task).items():
            assert np.array_equal(mask, ticket.masks[name])


def test_a_search_is_read_back(searched):
    run, tickets = searched
    network = network_of(run.settings, run.schema, "s_weight")
    for ticket in tickets:
        found = read_ticket(run, network, ticket.task)
        assert found.chosen.level == ticket.chosen.level
        assert all(np.array_equal(found.masks[n], mask) for n, mask in ticket.masks.items())


@pytest.mark.parametrize("at", [3, 2 * STEPS + 3])
def test_a_training_that_was_stopped_goes_on_as_the_same_one(learned, schema, tmp_path, at):
    flags = ["--models=s_gates", "--checkpoint_steps=2"]
    run, _ = begin(schema, tmp_path, *flags, progress=KilledProgress(at))
    with pytest.raises(Killed):
        sharing_search.train_models(run, [])
    run, _ = begin(schema, tmp_path, *flags)
    sharing_search.train_models(run, [])
    assert_same_logits(learned, run, "s_gates")


def test_a_search_that_was_stopped_goes_on_as_the_same_one(searched, schema, tmp_path):
    flags = ["--models=s_weight", "--rounds=2", "--checkpoint_steps=2"]
    run, network = begin(schema, tmp_path, *flags, progress=KilledProgress(2 * STEPS + 3))
    with pytest.raises(Killed):
        find_ticket(run, network, "ctr")
    trained_model(schema, tmp_path, "s_weight", *flags[1:])
    assert_same_logits(searched[0], run, "s_weight")


@pytest.mark.parametrize("model", ["shared_bottom", "pruned_towers", "s_weight_auto"])
def test_other_models_of_towers_wear_them_too(schema, tmp_path, model):
    flags = ["--rounds=1", "--auto_trainings=4"]
    run, _ = trained_model(schema, tmp_path, model, *flags)
    network = load_model(run.folder, model, run.settings, run.schema)
    for masks in task_masks(network).values():
        share = density(of_attention(masks, "watched"))
        assert share == pytest.approx(density(of_towers(masks)), abs=0.02)
    if model == "pruned_towers":
        assert shared_overlap(network) is None  # of kernels of their own


@pytest.mark.parametrize("control", ["shuffle", "one_shot", "draw"])
def test_controls_keep_as_many_weights_of_each_part(searched, schema, tmp_path, control):
    run, tickets = searched
    flags = ["--models=s_weight", "--rounds=2", f"--ticket_control={control}"]
    controlled, _ = begin_run(small_settings(*FLAGS, *flags), schema, tmp_path, searches=run.folder)
    joint_training.train_model(controlled, "s_weight", tickets)
    network = load_model(tmp_path, "s_weight", controlled.settings, schema)
    for ticket in tickets:
        masks = network.masks(ticket.task)
        for part, worn in zip(parts_of(ticket.masks), parts_of(masks), strict=True):
            assert sum(int(m.sum()) for m in part.values()) == sum(
                int(m.sum()) for m in worn.values()
            )


def test_what_tickets_keep_of_the_attention_is_reported(learned):
    masks = shared_masks(learned.folder, "s_gates", learned.settings, learned.schema)
    (shares,) = attention_shares(masks, learned.settings, learned.schema)
    assert shares.sequence == "watched"
    assert shares.weights == sum(UNIT.values())
    assert list(shares.shares) == [
        "event's watched",
        "event's ago",
        "candidate's video",
        "watched x video",
        "kernel_1",
        "all",
    ]
    for task, kept in shares.kept.items():
        unit = of_attention(masks[task], "watched")
        assert kept == sum(int(mask.sum()) for mask in unit.values()) == round(0.25 * 114)
        assert shares.shares["event's ago"][task] == unit["event_kernel"][4:].mean()
        assert shares.shares["candidate's video"][task] == unit["candidate_kernel"].mean()
    units = [of_attention(of_task, "watched") for of_task in masks.values()]
    assert shares.overlaps["all"] == overlap(units)
    # Inputs are the towers' alone.
    fields = input_shares("s_gates", masks, learned.settings, learned.schema).fields
    assert "watched" in fields


def test_without_the_flag_nothing_is_reported(schema):
    settings = small_settings("--models=s_gates")
    assert attention_shares({}, settings, schema) == []


def count(network: RankingNetwork, task: str) -> int:
    """Alive weights of the unit's hidden kernels."""
    unit = of_attention(network.masks(task), "watched")
    return sum(int(mask.sum()) for mask in unit.values())


def test_the_attention_is_counted_without_what_is_cut(schema):
    plain = cost_of(build_masked(schema, mask_attention=False))
    whole = 8 * 36 + 4 * 36 + 4 * 36
    others = 36 + 36 + 1  # biases, the last kernel
    assert plain["attention_parameters"] == {"ctr": whole + others, "cvr": whole + others}
    assert plain["attention_multiply_adds"] == whole + 36

    network = build_masked(schema)
    assert cost_of(network) == plain  # tasks with masks of ones compute the same
    for place, task in enumerate(network.tasks):
        network.wear(task, random_masks(network, task, seed=place))
    found = cost_of(network)
    assert found["attention_parameters"] == {t: count(network, t) + others for t in network.tasks}
    assert found["attention_multiply_adds"] == sum(count(network, t) + 36 for t in network.tasks)
    towers = {t: of_towers(network.masks(t)) for t in network.tasks}
    assert found["alive_parameters"]["ctr"] == sum(int(m.sum()) for m in towers["ctr"].values()) + (
        8 + 4 + 4 + 1
    )


def test_equal_towers_count_once_only_where_they_read_the_same(schema):
    network = build_masked(schema)
    masks = random_masks(network, "ctr", seed=1)
    for task in network.tasks:
        network.wear(task, masks)
    alike = cost_of(network)["multiply_adds"]
    other = random_masks(network, "cvr", seed=2)
    network.wear("cvr", other | of_towers(masks))
    tower = sum(int(mask.sum()) for mask in of_towers(masks).values())
    assert cost_of(network)["multiply_adds"] == alike + tower


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--models=s_weight,mmoe"], "--models"),
        (["--models=s_joint"], "--models"),
        (["--models=htlnet_s_weight"], "--models"),
        (["--models=small_dense"], "--models"),
        (["--models=s_gates", "--pruned_unit=neuron"], "--pruned_unit"),
        (["--models=s_weight", "--ticket_finder=gradual"], "--ticket_finder"),
        (["--models=s_weight", "--own_embedding=cvr=2"], "--own_embedding"),
        (["--models=s_weight", "--distribution=parameter_server"], "--distribution"),
        (["--models=s_weight", "--add_to=runs/a"], "--add_to"),
    ],
)
def test_what_knows_tickets_of_towers_alone_is_refused(flags, named):
    with pytest.raises(ConfigError, match=f"{named}: found .* with --mask_attention"):
        small_settings("--mask_attention", *flags)


def test_a_schema_without_such_a_list_is_refused(small_schema):
    settings = small_settings("--models=s_gates", "--mask_attention")
    for use in (check_models, lambda settings, schema: network_of(settings, schema, "s_gates")):
        with pytest.raises(ConfigError, match="--mask_attention: found True, expected False"):
            use(settings, small_schema)


def test_by_default_the_attention_is_not_masked(schema):
    settings, _ = parse(["train", "--schema=s.toml", "--data_dir=d"], "")
    assert not settings.tickets.mask_attention
    assert "mask_attention" not in to_dict(settings)["tickets"]  # as of runs of earlier versions
    network = network_of(small_settings("--models=s_gates"), schema, "s_gates")
    assert not network.attentions
    assert all(name.startswith("tower_") for name in network.kernels("ctr"))
