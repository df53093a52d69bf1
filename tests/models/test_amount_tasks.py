"""Amounts as targets: labels, what the audit finds of them, losses, predictions, metrics."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import lognorm, spearmanr

from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.data.audit import audit
from lt4rec_tf.data.audit.description import describe
from lt4rec_tf.data.audit.findings import Audit
from lt4rec_tf.data.input.pipeline import batches
from lt4rec_tf.data.input.source import open_source
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.experiment.comparison import results
from lt4rec_tf.models.escm2 import doubly_robust_risk, inverse_propensity_risk
from lt4rec_tf.models.esmm import entire_space_losses
from lt4rec_tf.models.heads.of_task import loss_of, outputs_of, prediction
from lt4rec_tf.models.losses import losses_by_row, standardised_mse, ziln
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import SchemaError, Task
from lt4rec_tf.schema.writer import to_toml
from lt4rec_tf.serving.model_card_sections import answers_section, labels_section
from lt4rec_tf.training.evaluation import measure, split_losses
from lt4rec_tf.training.plan import Feed, Plan
from lt4rec_tf.training.predictions import Predictions, make_predictor
from tests.support.amounts import schema_of, schema_text, standardised
from tests.support.networks import BUILDERS, build_model, build_small, moved, small_batch
from tests.support.training import small_trainer

RISKS = (inverse_propensity_risk, doubly_robust_risk)
# A counterfactual has no amounts; ESCM2's risks are below, what learns by them learns as ESMM.
LEARNERS = [name for name in BUILDERS if name not in ("escm2_ips", "escm2_dr", "dcmt")]

ROWS = [  # user, click, watch ratio, play_ms
    ("u1", 1, 0.5, 2000), ("u2", 0, "", 0), ("u3", 1, 0.25, 6000), ("u4", 1, 1, 0),
    ("u5", 0, "", 500), ("u6", 1, 0.75, 1500), ("u7", 0, "", 0), ("u8", 1, 0.5, 250.5),
]  # fmt: skip


def write_logs(folder, rows):
    header = "user,video,tags,source,age,click,watch_ratio,play_ms"
    for name in ("train", "validation", "test"):
        lines = [f"{user},v1,a|b,v2,30,{click},{ratio},{ms}" for user, click, ratio, ms in rows]
        (folder / f"{name}.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")


def opened(tmp_path, rows=ROWS, **changes):
    write_logs(tmp_path, rows)
    rule = SplitRule("files", validation_files=("validation.csv",), test_files=("test.csv",))
    source = open_source(schema_of(tmp_path, **changes), tmp_path, rule)
    found = audit.audit(source)
    return audit.complete(source, found), found


def test_an_amount_is_its_column_times_the_multiplier(tmp_path):
    source, _ = opened(tmp_path)
    (batch,) = batches(source, "train", 100)
    clicked = np.array([row[1] for row in ROWS])
    milliseconds = np.array([row[3] for row in ROWS])
    np.testing.assert_allclose(batch["labels"]["watch"], clicked * milliseconds / 1000, rtol=1e-6)
    np.testing.assert_array_equal(batch["weights"]["watch"], clicked)


AT_MOST = 'unit = "s"\nat_most = 1.5'
OF_AGE = (
    'unit = "s"\nduration = "age"\nduration_unit = "s"\nat_most = "duration"'  # 30 s in all rows
)


def with_label(tmp_path, said, rows=ROWS, loss="mse"):
    write_logs(tmp_path, rows)
    path = tmp_path / "clipped.toml"
    path.write_text(schema_text(loss=loss).replace('unit = "s"', said), encoding="utf-8")
    rule = SplitRule("files", validation_files=("validation.csv",), test_files=("test.csv",))
    source = open_source(load_schema(path), tmp_path, rule)
    found = audit.audit(source)
    return audit.complete(source, found), found


@pytest.mark.parametrize(("said", "most"), [(AT_MOST, 1.5), (OF_AGE, 30.0)])
def test_an_amount_is_clipped_to_the_most_that_it_can_be(tmp_path, said, most):
    rows = [*ROWS, ("u9", 1, 0.5, 31_000)]
    source, found = with_label(tmp_path, said, rows)
    (batch,) = batches(source, "train", 100)
    seconds = np.array([row[3] for row in rows]) / 1000
    clicked = np.array([row[1] for row in rows])
    expected = np.minimum(seconds, most) * clicked
    np.testing.assert_allclose(batch["labels"]["watch"], expected, rtol=1e-6)
    assert found.clipped == {"seconds": 3 * int((seconds > most).sum())}
    assert f"clipped {'seconds':<16}{found.clipped['seconds']:>12}" in describe(found)
    assert Audit.from_json(found.to_json()).clipped == found.clipped
    limit = "1.5" if most == 1.5 else "column `age`"
    assert f"`play_ms` x 0.001, in s, at most {limit}" in labels_section(source.schema)
    again = tmp_path / "again.toml"
    again.write_text(to_toml(source.schema), encoding="utf-8")
    assert load_schema(again).label("seconds") == source.schema.label("seconds")


@pytest.mark.parametrize(
    ("said", "most", "words"),
    [("", np.inf, "(s); a row of no"), ("at_most = 0.05", 0.05, "(s), at most 0.05; a row of no")],
)
def test_an_amount_of_two_times_is_how_often_the_video_was_watched(tmp_path, said, most, words):
    rows = [*ROWS, ("u9", 1, 0.5, 61_000), ("u9", 1, 0.5, "1e300")]
    write_logs(tmp_path, rows)
    path = tmp_path / "loops.toml"
    of_times = 'play_time = "play_ms"\nplay_time_unit = "ms"\nduration = "age"\n'
    of_times += f'duration_unit = "s"\nzero_duration = "bad"\n{said}'  # an age of 30 in all rows
    text = schema_text().replace('unit = "s"', "").replace("multiplier = 0.001", "")
    path.write_text(text.replace('column = "play_ms"', of_times), encoding="utf-8")
    rule = SplitRule("files", validation_files=("validation.csv",), test_files=("test.csv",))
    source = open_source(load_schema(path), tmp_path, rule)
    found = audit.audit(source)

    ends = found.unusable.get("bad_label", 0)
    assert ends == (3 if most == np.inf else 0)  # a number that no float32 holds, in each file
    rows = rows[:-1] if ends else rows
    loops = np.array([float(row[3]) for row in rows]) / 30_000
    clicked = np.array([row[1] for row in rows])
    (batch,) = batches(audit.complete(source, found), "train", 100)
    np.testing.assert_allclose(
        batch["labels"]["watch"], np.minimum(loops, most) * clicked, rtol=1e-6
    )
    assert found.clipped == ({"seconds": 3 * int((loops > most).sum())} if said else {})
    assert words in labels_section(source.schema)
    (tmp_path / "again.toml").write_text(to_toml(source.schema), encoding="utf-8")
    assert load_schema(tmp_path / "again.toml").label("seconds") == source.schema.label("seconds")


@pytest.mark.parametrize("loss", ["mse", "ziln"])
def test_no_prediction_is_more_than_the_label_can_be(tmp_path, loss):
    outputs = np.array([-9.0, 0.2, 9.0], np.float32)
    outputs = outputs if loss == "mse" else outputs[:, None] * np.ones(3, np.float32)
    task = with_label(tmp_path, AT_MOST, loss=loss)[0].schema.task("watch")
    found = prediction(task, outputs).numpy()
    assert found.min() >= 0
    assert found.max() == 1.5
    task = with_label(tmp_path, OF_AGE, loss=loss)[0].schema.task("watch")
    unknown = prediction(task, outputs, tf.constant([0.5, np.nan, np.nan])).numpy()
    known = prediction(task, outputs, tf.constant([0.1, 0.1, 2.0])).numpy()
    assert unknown[2] > 2
    assert prediction(task, outputs).numpy().min() >= 0  # durations unknown of all rows
    assert (known <= np.array([0.1, 0.1, 2], np.float32)).all()
    assert known[2] == 2


@pytest.mark.parametrize("wrong", [-1, "nan", "inf", "x"])
def test_what_is_no_amount_is_counted_with_its_line(tmp_path, wrong):
    _, found = opened(tmp_path, [*ROWS, ("u9", 1, 0.5, wrong)])
    assert found.unusable == {"bad_label": 3}
    assert found.examples[0].record == len(ROWS) + 1


def test_the_audit_tells_the_schema_mean_and_deviation_of_the_population_in_train(tmp_path):
    source, found = opened(tmp_path)
    amounts = np.array([ms / 1000 for _, click, _, ms in ROWS if click])
    task = source.schema.task("watch")
    assert (task.mean, task.scale) == pytest.approx((amounts.mean(), amounts.std()))
    again = Audit.from_json(found.to_json())
    assert audit.complete(source, again).schema == source.schema
    assert source.schema.task("ctr").scale == 1.0  # told of amounts alone


def test_an_amount_that_never_varies_keeps_the_scale_of_its_unit(tmp_path):
    source, _ = opened(tmp_path, [(user, click, ratio, 700) for user, click, ratio, _ in ROWS])
    assert source.schema.task("watch").scale == 1.0
    assert source.schema.task("watch").mean == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("multiplier = 0.001", "multiplier = 0", "multiplier.*found 0.*above 0"),
        ('metric = "nrmse"', 'metric = "auc"', "metric.*found 'auc'.*nrmse"),
        ('loss = "mse"\nmetric = "nrmse"', 'loss = "focal"\nmetric = "nrmse"', "loss.*focal"),
        ('label = "seconds"', 'label = "click"', "expected a label of kind amount"),
        ('column = "play_ms"', 'play_time = "play_ms"', "duration.*found nothing"),
        ('column = "play_ms"', "", "column.*found nothing"),
        ('unit = "s"', 'unit = "s"\nat_most = 0', "at_most.*found 0.*a number above 0"),
        ('unit = "s"', 'unit = "s"\nat_most = "duration"', "at_most.*found 'duration'"),
        (
            'unit = "s"',
            'duration = "age"\nduration_unit = "s"\nat_most = "duration"',
            "at_most.*where the label names",
        ),
    ],
)
def test_what_a_schema_may_not_say_of_amounts(tmp_path, old, new, message):
    text = schema_text()
    assert old in text
    path = tmp_path / "wrong.toml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(SchemaError, match=message):
        load_schema(path)


def task_of(loss, mean=20.0, scale=10.0):
    return Task("watch", "seconds", "amount", "click", loss, "nrmse", "min", mean, scale)


def test_losses_and_predictions_are_those_of_the_schema():
    assert outputs_of(task_of("mse")) == 1
    assert outputs_of(task_of("ziln")) == 3
    np.testing.assert_allclose(
        prediction(task_of("mse"), tf.constant([0.0, -1.0, 2.0])), [20, 10, 40]
    )
    labels, weights = tf.constant([10.0, 40.0, 7.0]), tf.constant([1.0, 1.0, 0.0])
    found = loss_of(task_of("mse"))(tf.constant([0.0, 1.0, 9.0]), labels, weights)
    assert float(found) == pytest.approx((1 + 1) / 2)
    emphasis = tf.constant([3.0, 1.0, 1.0])
    found = standardised_mse(
        tf.constant([0.0, 1.0, 9.0]), labels, weights, emphasis, mean=20.0, scale=10.0
    )
    assert float(found) == pytest.approx((3 + 1) / 2)


@given(
    st.floats(-3, 3), st.floats(-2, 2), st.floats(-3, 3), st.floats(0.01, 500), st.floats(0.1, 100)
)
def test_ziln_is_the_likelihood_of_scipy(logit, mean, raw, amount, scale):
    outputs = tf.constant([[logit, mean, raw]] * 2, tf.float32)
    p, deviation = 1 / (1 + math.exp(-logit)), math.log1p(math.exp(raw))
    of_nothing = -math.log1p(-p)
    density = lognorm.logpdf(amount / scale, s=deviation, scale=math.exp(mean))
    both = ziln(outputs, tf.constant([0.0, amount]), tf.ones(2), scale=scale)
    expected = (of_nothing - math.log(p) - density) / 2
    assert float(both) == pytest.approx(expected, rel=2e-3, abs=2e-4)
    told = prediction(task_of("ziln", scale=scale), outputs[:1])
    of_scipy = scale * p * lognorm.mean(s=deviation, scale=math.exp(mean))
    assert float(told[0]) == pytest.approx(of_scipy, rel=1e-3)


def test_no_ziln_prediction_or_gradient_is_infinite():
    outputs = tf.Variable([[50.0, 200.0, 300.0], [-50.0, -200.0, -300.0]])
    task = task_of("ziln")
    assert np.isfinite(prediction(task, outputs)).all()
    with tf.GradientTape() as tape:
        loss = loss_of(task)(outputs, tf.constant([0.0, 5.0]), tf.ones(2))
    assert np.isfinite(tape.gradient(loss, outputs)).all()


@given(st.lists(st.floats(0, 1e4, width=32), min_size=3, max_size=30))
def test_predictions_are_measured_in_the_labels_own_unit(labels):
    labels = np.array(labels, np.float32)
    rng = np.random.default_rng(len(labels))
    outputs = rng.normal(size=len(labels)).astype(np.float32)
    task = task_of("mse")
    schema = _Schema(task)
    ones, users = np.ones(len(labels), np.float32), np.zeros(len(labels), np.int64)
    found = measure(
        Predictions({"watch": outputs}, {"watch": labels}, {"watch": ones}, users),
        schema,
        ["watch"],
    )["watch"]
    predicted = (20 + 10 * outputs).astype(np.float64)
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean((labels - predicted) ** 2)), rel=1e-4)
    if np.ptp(labels):
        assert found["nrmse"] == pytest.approx(found["rmse"] / labels.std(dtype=float), rel=1e-4)
        assert found["spearman"] == pytest.approx(spearmanr(labels, predicted)[0], abs=1e-3)


class _Schema:
    """A schema of one task, as far as `measure` asks."""

    user = "user_id"

    def __init__(self, task):
        self._task = task

    def task(self, name):
        assert name == self._task.name
        return self._task


def batch_with_amounts(rows=32, seed=0):
    batch = small_batch(rows, seed)
    rng = np.random.default_rng(seed)
    click = batch["weights"]["cvr"]
    amount = rng.lognormal(2, 1, rows) * rng.integers(0, 2, rows)
    batch["labels"]["watch"] = tf.constant(amount, tf.float32) * click
    batch["weights"]["watch"] = click
    return batch


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["mse", "ziln"])
@pytest.mark.parametrize("name", ["s_weight", *LEARNERS])
def test_every_model_learns_amounts(tmp_path, name, loss):
    schema = standardised(tmp_path, loss)
    network = build_small(schema) if name == "s_weight" else build_model(name, schema)
    data = tf.data.Dataset.from_tensor_slices(batch_with_amounts(64)).batch(16)
    feed = Feed(lambda epoch, skip: data.skip(skip), lambda: data, steps_per_epoch=4)
    trainer = small_trainer(network, schema, schedule="both", feed=feed)
    result = trainer.fit(tmp_path / "stage", name, Plan(8, keep_last=True))
    losses = [record["train_loss"]["watch"] for record in result["history"]]
    assert losses[-1] < losses[0]
    predictions = make_predictor(network, network.tasks)(data)
    assert predictions.logits["watch"].shape == ((64,) if loss == "mse" else (64, 3))
    found = measure(predictions, schema, network.tasks)
    assert {"nrmse", "nmae", "spearman", "gini"} < set(found["watch"])
    assert {"nrmse", "gini"} < set(found["ctr_watch"])  # pctr * E[amount | click]
    whole = split_losses(predictions, schema, ["watch"])["watch"]
    assert whole == pytest.approx(result["validation_loss"]["watch"], rel=1e-5)


@pytest.mark.parametrize("loss", ["mse", "ziln"])
def test_escm2_weighs_and_imputes_the_losses_of_amounts(tmp_path, loss):
    schema = standardised(tmp_path, loss)
    task, batch = schema.task("watch"), batch_with_amounts(16)
    features = batch["features"]
    logits = {
        **moved(build_model("escm2_dr", schema)).model(features),
        "ctr": tf.constant(np.random.default_rng(2).normal(size=16), tf.float32),
    }
    click, watched = batch["labels"]["ctr"].numpy(), batch["labels"]["watch"]
    inverse = click * (1 + np.exp(-logits["ctr"].numpy()))
    of_row = [
        float(loss_of(task)(logits["watch"][i : i + 1], watched[i : i + 1], tf.ones(1)))
        for i in range(16)
    ]
    imputed = logits["watch.auxiliary"].numpy().astype(float)
    if loss == "mse":  # never below 0, as a likelihood may be
        imputed = np.log1p(np.exp(imputed))

    losses = losses_by_row(task, logits["watch"], watched)
    np.testing.assert_allclose(losses, of_row, rtol=1e-5)
    ips, dr = (float(risk(task, "ctr", logits, batch)) for risk in RISKS)
    assert ips == pytest.approx(np.mean(inverse * of_row), rel=1e-4)
    apart = of_row - imputed
    expected = np.mean(imputed + inverse * apart + inverse * apart**2)
    assert dr == pytest.approx(expected, rel=1e-4)


def test_esmm_learns_the_product_with_an_amount(tmp_path):
    schema = standardised(tmp_path, "mse")
    losses = entire_space_losses(schema)
    batch = batch_with_amounts(16)
    rng = np.random.default_rng(1)
    logits = {t.name: tf.constant(rng.normal(size=16), tf.float32) for t in schema.tasks}
    click = batch["labels"]["ctr"].numpy()
    expected = np.mean(
        (
            (5 + 8 * logits["watch"].numpy()) / (1 + np.exp(-logits["ctr"].numpy()))
            - click * batch["labels"]["watch"].numpy()
        )
        ** 2
        / 64
    )
    assert float(losses(logits, batch)["watch"]) == pytest.approx(expected, rel=1e-5)


def test_a_card_names_the_unit(tmp_path):
    schema = schema_of(tmp_path)
    assert "`pwatch`: expected `seconds` in s, given that `click` is 1" in answers_section(
        schema, {}
    )
    assert "`seconds`: column `play_ms` x 0.001, in s" in labels_section(schema)


def test_a_comparison_knows_intervals_for_amounts(tmp_path):
    schema = schema_of(tmp_path)
    results.check_metrics(schema)
    tasks = tuple(dataclasses.replace(task, metric="xauc") for task in schema.tasks)
    with pytest.raises(ConfigError, match=r"expected one of .*nrmse"):
        results.check_metrics(dataclasses.replace(schema, tasks=tasks))
