"""Whole runs on chains that end in an amount: trained, measured again, published, ranked by."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lt4rec_tf import export
from lt4rec_tf.core import artifacts
from lt4rec_tf.data.input.pipeline import raw_batches
from lt4rec_tf.experiment.evaluation import open_run
from lt4rec_tf.experiment.feed import split_batches
from lt4rec_tf.experiment.trained_models import load_model
from lt4rec_tf.serving.publish import opened, published_versions
from lt4rec_tf.serving.rank import Ranking
from lt4rec_tf.serving.requests import rank_request
from lt4rec_tf.training.predictions import make_predictor
from tests.support.commands import run_main, run_training
from tests.support.paths import PROJECT, real_data
from tests.support.schemas import few_features

pytestmark = pytest.mark.slow(minutes=1)

SMALL = [
    "--hidden_units=16,8",
    "--epochs=1",
    "--embedding_dim=4",
    "--rounds=1",
    "--batch_size=256",
    "--learning_rate=0.01",
    "--balance=htlnet",
    "--reading=memory",
]
MODELS = ["base", "s_weight", "htlnet", "htlnet_tickets", "htlnet_s_weight"]
EXPRESSION = "ctr * (0.1 * purchase + log1p(max(amount, 0)))"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A run of every model on a small simulated shop."""
    folder = tmp_path_factory.mktemp("shop")
    run_training(
        f"--flagfile={PROJECT}/configs/simulated_shop.cfg",
        f"--schema={few_features('simulated_shop', folder)}",
        f"--data_dir={folder}/feed",
        f"--run_dir={folder}/run",
        "--simulate_rows=6000",
        f"--models={','.join(MODELS)}",
        *SMALL,
        pictures=True,
    )
    return folder / "run"


def check_metrics(folder, amount):
    found = artifacts.read_json(folder / "evaluation.json")
    of_amount = {"rmse", "mae", "nrmse", "nmae", "spearman", "gini", "xauc", "pcoc"}
    for model in found["rows"]:
        for task, metrics in model["metrics"].items():
            if task == amount:
                assert set(metrics) == of_amount
            assert all(math.isfinite(value) for value in metrics.values()), (model["row"], task)
    return found


def test_every_model_is_measured_by_the_amounts_metrics(shop):
    found = check_metrics(shop, "amount")
    names = ["base_ctr", "base_purchase", "base_amount", *MODELS[1:]]
    assert [model["row"] for model in found["rows"]] == names
    worn = {model["row"]: model for model in found["rows"]}
    for model in ("s_weight", "htlnet_tickets", "htlnet_s_weight"):
        assert set(worn[model]["density"]) == {"ctr", "purchase", "amount"}
        assert list(worn[model]["density"].values()) == pytest.approx([0.2] * 3, abs=1e-3)
    assert worn["htlnet"]["density"] == dict.fromkeys(("ctr", "purchase", "amount"), 1.0)
    assert worn["htlnet_s_weight"]["overlap"] is not None
    assert worn["htlnet_tickets"]["overlap"] is None
    assert (shop / "reliability.png").stat().st_size > 0


def test_a_version_ranks_by_an_expression_of_all_tasks(shop, tmp_path):
    model = "htlnet_tickets"  # other networks: test_served_amounts.py
    run_main(
        export.main,
        f"--run={shop}",
        f"--export_dir={tmp_path}/shop",
        f"--model={model}",
        f"--rank_expression={EXPRESSION}",
    )
    _, settings, schema, source = open_run(str(shop), "")
    network = load_model(shop, model, settings, schema)
    predictions = make_predictor(network, network.tasks)(split_batches(source, "test"))
    expected = {task.name: predictions.of(task) for task in schema.tasks}
    raw = {n: v.numpy() for n, v in next(iter(raw_batches(source, "test", 500))).items()}
    (version,) = published_versions(tmp_path / "shop")
    assert EXPRESSION in (version / "model_card.md").read_text()
    with opened(version) as served:
        answers = served.answers("serving_default", raw)
        for task, values in expected.items():
            np.testing.assert_allclose(answers[f"p{task}"], values[:500], rtol=1e-5, atol=1e-6)
        sent, _ = rank_request(schema, Ranking({}), raw, 4)
        ranked = served.answers("rank", sent)
    amount = np.maximum(ranked["pamount"], 0)
    score = ranked["pctr"] * (0.1 * ranked["ppurchase"] + np.log1p(amount))
    np.testing.assert_allclose(ranked["score"], score, rtol=1e-5, atol=1e-6)


def test_a_zero_inflated_log_normal_amount(shop, tmp_path, capsys):
    run_training(
        f"--flagfile={PROJECT}/configs/simulated_shop.cfg",
        f"--schema={shop.parent}/simulated_shop.toml",
        f"--data_dir={shop.parent}/feed",
        f"--run_dir={tmp_path}/run",
        "--simulate_rows=6000",
        "--tasks=ctr,purchase,amount_ziln",
        "--models=htlnet",
        *SMALL,
    )
    found = check_metrics(tmp_path / "run", "amount_ziln")
    assert [model["row"] for model in found["rows"]] == ["htlnet"]
    assert "NRMSE" in capsys.readouterr().out


def test_watch_time_on_the_kuairand_sample(tmp_path):
    run_training(
        f"--flagfile={PROJECT}/configs/kuairand_watch_time.cfg",
        f"--schema={few_features('kuairand_feedback', tmp_path)}",
        f"--data_dir={real_data('kuairand_feedback_sample')}",
        f"--run_dir={tmp_path}/run",
        "--models=base,htlnet",
        "--search_epochs=1",
        "--epochs=1",
        *SMALL,
        "--learning_rate=0.002",  # at .01 HTLNet's last tower may die
    )
    found = check_metrics(tmp_path / "run", "watch_time")
    base, htlnet = (
        next(model for model in found["rows"] if model["row"] == name)["metrics"]["watch_time"]
        for name in ("base_watch_time", "htlnet")
    )
    for metrics in (base, htlnet):
        assert metrics["nrmse"] < 1  # ahead of the mean
        assert metrics["spearman"] > 0.2
