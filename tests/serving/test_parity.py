"""One model, four ways to its answers on a whole test split: trained, measured, loaded, served."""

import contextlib
import io
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.special import expit
from sklearn.metrics import mean_squared_error, roc_auc_score

import lt4rec_tf as lt
from lt4rec_tf import export, predict, train
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.command import exit_on_error
from lt4rec_tf.data.input.pipeline import raw_batches
from lt4rec_tf.experiment import logs, publishing, run_folder
from lt4rec_tf.experiment.feed import split_batches
from lt4rec_tf.experiment.publishing import TOLERANCES
from lt4rec_tf.experiment.trained_models import load_model
from lt4rec_tf.serving.model_card import folder_size
from lt4rec_tf.serving.publish import opened, publish, published_versions
from lt4rec_tf.serving.rank import Ranking
from lt4rec_tf.serving.requests import rank_request, serialized_examples
from lt4rec_tf.serving.warmup import WARMUP_FILE, replay
from lt4rec_tf.training import calibration
from lt4rec_tf.training.predictions import make_predictor
from tests.serving_stand_in.serving_server import started_server
from tests.support.commands import run_main, small
from tests.support.paths import PROJECT

pytestmark = pytest.mark.slow(minutes=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose tickets cut whole neurons, so that what is served is smaller than the network."""
    folder = tmp_path_factory.mktemp("parity") / "run"
    flags = (
        f"--schema={PROJECT}/configs/schemas/simulated_feed.toml",
        "--models=s_weight",
        "--pruned_unit=neuron",
        "--ticket_choice=sparsest",
        "--choice_tolerance=9",
        "--reading=memory",
        "--rounds=1",
    )
    run_main(train.main, *small(folder, *flags))
    return folder


@pytest.fixture(scope="module")
def whole(run):
    """(every feature of the test split's rows, the network's predictions for them)."""
    settings, schema = run_folder.read_run(run)
    source = logs.read_audited(logs.open_logs(settings.data, schema), run)
    batches = [
        {name: values.numpy() for name, values in batch.items()}
        for batch in raw_batches(source, "test", 200)
    ]
    network = load_model(run, "s_weight", settings, schema)
    predictions = make_predictor(network, network.tasks)(split_batches(source, "test"))
    return schema, batches, predictions


def published(run, folder, *flags):
    run_main(export.main, f"--run={run}", f"--export_dir={folder}", *flags)
    return published_versions(folder)[-1]


@pytest.fixture(scope="module")
def models(run, tmp_path_factory):
    """Where the run has published its model, below a name."""
    return shutil.copytree(run / "saved_model", tmp_path_factory.mktemp("models") / "feed")


def assert_near(found, schema, predictions, atol):
    expected = {task: predictions.of(schema.task(task)) for task in ("ctr", "cvr")}
    for task, values in expected.items():
        np.testing.assert_allclose(found[f"p{task}"], values, rtol=0, atol=atol, err_msg=task)
    both = expected["ctr"] * expected["cvr"]
    np.testing.assert_allclose(found["pctcvr"], both, rtol=0, atol=atol)


def as_json(batch):
    """Columns as a client sends them."""
    return {
        name: np.char.decode(values.astype(bytes)).tolist()
        if values.dtype == object
        else values.tolist()
        for name, values in batch.items()
    }


def joined(parts):
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_a_loaded_version_answers_as_was_trained(run, whole, models):
    schema, batches, predictions = whole
    with opened(published_versions(models)[-1]) as version:
        rows = joined([version.answers("serving_default", batch) for batch in batches])
        examples = joined(
            [
                version.answers("tf_example", {"examples": serialized_examples(schema, batch)})
                for batch in batches
            ]
        )
        records = (version.folder / WARMUP_FILE).read_bytes()
        assert len(replay(version, records)) > len(version.signatures)
    assert_near(rows, schema, predictions, 1e-6)
    assert_near(examples, schema, predictions, 1e-6)
    assert (models / "1" / "model_card.md").exists()


def test_files_and_frames_get_the_predictions_of_a_server(run, whole, models, tmp_path):
    schema, batches, predictions = whole
    settings, _ = run_folder.read_run(run)
    files = f"--files={settings.data.data_dir}/impressions/day_06*"  # the rows of test, in order
    run_main(predict.main, f"--run={run}", files, f"--output={tmp_path}/out", "--processes=1")
    table = pq.read_table(tmp_path / "out")
    found = {
        name: column.to_numpy()
        for name, column in zip(table.schema.names, table.columns, strict=True)
    }
    assert_near(found, schema, predictions, 1e-6)

    with lt.load_version(models) as version:
        assert version.folder == models / "1"
        assert version.features.keys() == batches[0].keys()
        assert_near(
            joined([version.predict(batch) for batch in batches]), schema, predictions, 1e-6
        )
        few = {name: values[:2] for name, values in batches[0].items()}
        absent = version.predict(few | {"hour": [None, 7], "tags": [None, []]})
        missing = schema.feature("hour").missing
        given = version.predict(few | {"hour": [missing, 7], "tags": [[""], [""]]})
        np.testing.assert_array_equal(absent["pctr"], given["pctr"])
        with pytest.raises(lt.InputError, match="frame: row 1: column hour: found 'x', expected i"):
            version.predict(few | {"hour": ["1", "x"]})
        with pytest.raises(
            lt.InputError, match=r"found no column 'age_group', which .* the columns"
        ):
            version.predict({"hour": [1]})


def test_what_evaluate_measured_is_what_a_server_answers(run, whole, models):
    schema, batches, predictions = whole
    with started_server(models) as server:
        rows = joined([server.columns("serving_default", as_json(batch)) for batch in batches])
    assert_near(rows, schema, predictions, 1e-6)
    labels, clicked = predictions.labels, predictions.weights["cvr"] > 0
    (measured,) = artifacts.read_json(run / "evaluation.json")["rows"]
    auc = roc_auc_score(labels["ctr"], rows["pctr"])
    assert measured["metrics"]["ctr"]["auc"] == pytest.approx(auc, abs=1e-6)
    mse = mean_squared_error(labels["cvr"][clicked], rows["pcvr"][clicked])
    assert measured["metrics"]["cvr"]["mse"] == pytest.approx(mse, abs=1e-6)


def test_a_version_with_maps_answers_as_its_maps_change_what_was_measured(run, whole, chosen):
    _, batches, predictions = whole
    version, said, tolerance = chosen
    with opened(version) as version:
        read = version.signatures["serving_default"].inputs
        asked = [{name: batch[name] for name in read} for batch in batches]
        rows = joined([version.answers("serving_default", batch) for batch in asked])
        content = artifacts.read_json(version.folder / "calibration.json")
        operations = {node.op for node in version.session.graph.as_graph_def().node}
    assert not operations & {"PyFunc", "EagerPyFunc"}

    curves = [curve for found in content["maps"].values() for curve in found["curves"]]
    slopes = [np.diff(curve["calibrated"]) / np.diff(curve["logits"]) for curve in curves]
    assert tolerance == pytest.approx(1e-6 * max([1.0, *np.concatenate(slopes)]), rel=1e-5)
    groups = content["maps"]["cvr"]["curves"][1:]
    seconds = np.concatenate([batch["duration"] for batch in batches])
    group = np.searchsorted(content["maps"]["cvr"]["bounds"], seconds, side="right")
    assert {*group} == {*range(len(groups))}
    by_group = [by_curve(curve, predictions.logits["cvr"]) for curve in groups]
    expected = {
        "ctr": by_curve(content["maps"]["ctr"]["curves"][0], predictions.logits["ctr"]),
        "cvr": np.choose(group, by_group),
    }
    for task, values in expected.items():
        np.testing.assert_allclose(rows[f"p{task}"], values, rtol=0, atol=1e-6, err_msg=task)
    both = expected["ctr"] * expected["cvr"]
    np.testing.assert_allclose(rows["pctcvr"], both, rtol=0, atol=1e-6)

    error = mean_squared_error(predictions.labels["ctr"], expected["ctr"])
    for task, found in content["maps"].items():
        assert f"calibration of s_weight on validation: {task}: {found['method']}, " in said
    assert f"{error:.5f}" in said  # after, beside the one before
    (measured,) = artifacts.read_json(run / "evaluation.json")["rows"]
    assert f"{measured['metrics']['ctr']['mse']:.5f}" in said


def by_curve(curve, logits):
    """What a curve of a file makes of logits, by NumPy in double precision."""
    x, y = np.array(curve["logits"]), np.array(curve["calibrated"])
    z = logits.astype(np.float64)
    return expit(np.interp(z, x, y) + curve["slope"] * (z - np.clip(z, x[0], x[-1])))


def test_bfloat16_stays_near_and_ranks_the_same(run, whole, tmp_path):
    schema, batches, predictions = whole
    with opened(published(run, tmp_path, "--precision=bfloat16")) as version:
        rows = joined([version.answers("serving_default", batch) for batch in batches])
    assert_near(rows, schema, predictions, TOLERANCES["bfloat16"])
    exact = predictions.of(schema.task("ctr"))
    assert not np.array_equal(rows["pctr"], exact)
    click = predictions.labels["ctr"]
    assert roc_auc_score(click, rows["pctr"]) == pytest.approx(
        roc_auc_score(click, exact), abs=2e-3
    )


def test_int8_tables_rank_the_same_and_are_what_the_card_measures(run, whole, models, tmp_path):
    schema, batches, predictions = whole
    flags = ("--table_precision=int8", "--rank_answers=score")
    with opened(published(run, tmp_path, *flags)) as version:
        assert set(version.signatures["rank"].outputs) == {"score"}
        rows = joined([version.answers("serving_default", batch) for batch in batches])
    exact, click = predictions.of(schema.task("ctr")), predictions.labels["ctr"]
    assert not np.array_equal(rows["pctr"], exact)
    auc = roc_auc_score(click, rows["pctr"])
    assert auc == pytest.approx(roc_auc_score(click, exact), abs=2e-3)

    card = (tmp_path / "1" / "model_card.md").read_text()
    assert f"{auc:.5f}" in card
    size, whole_size = (folder_size(folder / "1" / "variables") for folder in (tmp_path, models))
    assert size < whole_size


@pytest.fixture(scope="module")
def chosen(run, models, tmp_path_factory):
    """(a version by many flags, what its export said, how far its answers may be)."""
    folder = shutil.copytree(models, tmp_path_factory.mktemp("chosen") / "feed")
    shutil.copytree(folder / "1", folder / "2")
    flags = (
        "--rank_exponents=ctr=1,cvr=2",
        "--length_feature=duration",
        "--length_exponent=0.5",
        "--signature_inputs=used",
        "--keep_versions=2",
        "--nowarmup",
        "--calibration=ctr=isotonic,cvr=duration",
    )
    said = io.StringIO()
    tolerances = []

    def published_within(*arguments, tolerance, **named):
        tolerances.append(tolerance)
        return publish(*arguments, tolerance=tolerance, **named)

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr(publishing, "publish", published_within)
        patch.setattr(calibration, "LEAST_ROWS_OF_GROUP", 100)  # 225 clicks
        version = published(run, folder, *flags)
    return version, said.getvalue(), tolerances[0]


def test_flags_say_what_is_published(run, chosen):
    version, *_ = chosen
    folder = version.parent
    assert version.name == "3"
    assert published_versions(folder) == [folder / "2", version]
    assert not (version / WARMUP_FILE).exists()
    settings, schema = run_folder.read_run(run)
    source = logs.read_audited(logs.open_logs(settings.data, schema), run)
    batch = next(iter(raw_batches(source, "test", 6)))
    raw = {name: values.numpy() for name, values in batch.items()}
    sent, _ = rank_request(schema, Ranking({}), raw, 2)
    with opened(version) as loaded:
        answers = loaded.answers("rank", sent)
    expected = answers["pctr"] * answers["pcvr"] ** 2 * sent["duration"] ** 0.5
    np.testing.assert_allclose(answers["score"], expected, rtol=1e-5)
    assert (answers["score"] > 0).all()


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--model=mmoe", "no model 'mmoe', expected one of s_weight"),
        ("--row=mmoe", "no model 'mmoe', expected one of s_weight"),  # as it was once called
        ("--length_feature=hour", "--length_feature: found 'hour'"),
        (
            "--keep_versions=-1",
            "keep_versions: found -1, expected 0, which keeps all, or 2 or more",
        ),
        ("--precision=float16", "float16"),
        ("--kernel_form=dense", "Unknown command line flag 'kernel_form'"),
    ],
)
def test_flags_that_cannot_be_are_refused_in_a_line(run, tmp_path, capsys, flag, message):
    argv = ["export", f"--run={run}", f"--export_dir={tmp_path}/feed", flag]
    assert exit_on_error(export.main, argv) != 0
    assert message in capsys.readouterr().err
    assert published_versions(tmp_path / "feed") == []
