import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit

from lt4rec_tf.data.features import features_to_ids
from lt4rec_tf.models.network import RankingNetwork, read_variables
from lt4rec_tf.schema import Schema, load_schema
from lt4rec_tf.serving.publish import PublishError, publish, published_versions
from lt4rec_tf.serving.signatures import ServedModel, answer_names
from tests.conftest import SMALL_SCHEMA, build_small
from tests.small_models import build_model, build_with_own_views
from tests.small_training import random_masks

# Every rule by which raw values become ids, and every dtype, alone and in lists.
MORE_FEATURES = """
[[features]]
name = "device"
dtype = "string"
side = "user"
ids = { kind = "vocabulary", vocabulary = ["phone", "планшет", "电视"] }

[[features]]
name = "hour"
dtype = "int64"
side = "context"
missing = -1
ids = { kind = "integer", minimum = 0, maximum = 23 }

[[features]]
name = "length"
dtype = "float32"
side = "item"
ids = { kind = "boundaries", boundaries = [15, 60.5, 300] }

[[features]]
name = "codes"
dtype = "int64"
multivalued = true
max_values = 4
separator = "|"
missing = 0
side = "item"
ids = { kind = "hash", buckets = 12 }

[[labels]]
name = "like"
kind = "binary"
column = "like"

[[tasks]]
name = "like"
label = "like"
kind = "binary"
population = "click"
loss = "cross_entropy"
metric = "auc"
direction = "max"
"""
WORDS = [
    "u1",
    "планшет",
    "电视",
    "phone",
    "",
    "-1",
    "\x00\xff",
    "a" * 300,
    "🎬 кино",
    "nobody saw this",
]
WHOLE = [-1, 0, 7, 23, 24, -(2**63), 2**63 - 1]
REAL = [0.0, 15.0, 60.5, -3.0, 1e4, -1e4, np.nan, np.inf, -np.inf, 300.0, 1e30, -3e38]
TWO, THREE = ["ctr", "cvr"], ["ctr", "cvr", "like"]
# tasks, and what builds their network
NETWORKS = {
    "sparse sharing": (TWO, partial(build_small, seed=3)),
    "hard sharing": (TWO, partial(build_small, separate_towers=True, cross="triangle", seed=3)),
    "single task": (["cvr"], partial(build_small, cross="dcn_v2", seed=3)),
    "three tasks": (THREE, partial(build_small, seed=3)),
    "own views": (THREE, partial(build_with_own_views, {"cvr": 3, "like": 2})),
    "esmm": (THREE, partial(build_model, "esmm")),
    "mmoe": (THREE, partial(build_model, "mmoe")),
    "ple": (TWO, partial(build_model, "ple")),
    "aitm": (THREE, partial(build_model, "aitm")),
}


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    path = tmp_path_factory.mktemp("schema") / "served.toml"
    path.write_text(SMALL_SCHEMA + MORE_FEATURES, encoding="utf-8")
    return load_schema(path)


def raw_rows(schema, rows, lists=3, seed=0):
    """Odd and usual values by feature, as a client sends them."""
    rng = np.random.default_rng(seed)
    values = {"string": [word.encode() for word in WORDS], "int64": WHOLE, "float32": REAL}
    dtypes = {"string": object, "int64": np.int64, "float32": np.float32}
    return {
        feature.name: np.array(values[feature.dtype], dtypes[feature.dtype])[
            rng.integers(
                0,
                len(values[feature.dtype]),
                (rows, lists) if feature.multivalued else rows,
            )
        ]
        for feature in schema.features
    }


def predictions(network, schema, raw):
    """Task -> sigmoid of the Keras model's logit, for rows of any list width."""
    padded = {
        feature.name: np.pad(raw[feature.name], [(0, 0), (0, 1)], constant_values=_missing(feature))
        if feature.multivalued
        else raw[feature.name]
        for feature in schema.features
    }
    ids = features_to_ids(schema, {name: tf.constant(rows) for name, rows in padded.items()})
    logits = network.model(ids, training=False)
    return {task: expit(logits[task].numpy()) for task in network.tasks}


def _missing(feature):
    return feature.missing.encode() if feature.dtype == "string" else feature.missing


def expected_answers(network, schema, raw):
    by_task = predictions(network, schema, raw)
    expected = {task: {f"p{task}": chances} for task, chances in by_task.items()}
    everything = {f"p{task}": chances for task, chances in by_task.items()}
    if "ctr" in by_task and "cvr" in by_task:
        everything["pctcvr"] = by_task["ctr"] * by_task["cvr"]
    if "ctr" in by_task and "like" in by_task:
        everything["pctr_like"] = by_task["ctr"] * by_task["like"]
    return expected | {"serving_default": everything}


def trained_network(schema, name):
    """A network away from its initialisation, wearing a mask for each task."""
    tasks, build = NETWORKS[name]
    network = build(schema.with_tasks(tasks))
    rng = np.random.default_rng(4)
    for variable in network.variables.values():
        variable.assign_add(rng.normal(size=variable.shape, scale=0.3).astype(np.float32))
    for place, task in enumerate(tasks):
        network.wear(task, random_masks(network, task, seed=place))
    return network


@dataclass(frozen=True)
class Published:
    network: RankingNetwork
    schema: Schema
    version: Path
    ask: Callable  # (signature, raw rows) -> answers, as a server that has loaded the version
    definitions: dict


@pytest.fixture(scope="module", params=NETWORKS)
def published(request, schema, tmp_path_factory):
    schema = schema.with_tasks(NETWORKS[request.param][0])
    network = trained_network(schema, request.param)
    version = publish_network(network, schema, tmp_path_factory.mktemp("models") / "feed")
    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph)
    with graph.as_default():
        loaded = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(version))
    definitions = {
        name: definition
        for name, definition in loaded.signature_def.items()
        if not name.startswith("__")
    }

    def ask(signature, raw):
        inputs, outputs = definitions[signature].inputs, definitions[signature].outputs
        fed = {inputs[name].name: rows for name, rows in raw.items()}
        return session.run({name: info.name for name, info in outputs.items()}, fed)

    yield Published(network, schema, version, ask, definitions)
    session.close()


def publish_network(network, schema, base, expected=None):
    served = ServedModel(network, schema)
    sample = raw_rows(schema, 5)
    expected = expected or expected_answers(network, schema, sample)
    return publish(served, served.signatures(), base, sample, expected)


@pytest.mark.parametrize(("rows", "lists"), [(64, 3), (7, 1), (1, 5), (7, 0), (0, 2), (0, 0)])
def test_a_saved_model_answers_as_the_network_predicts(published, rows, lists):
    network, schema = published.network, published.schema
    raw = raw_rows(schema, rows, lists, seed=rows + lists)
    expected = expected_answers(network, schema, raw)
    assert set(expected) == {*network.tasks, "serving_default"}
    for signature, outputs in expected.items():
        answers = published.ask(signature, raw)
        assert set(answers) == set(outputs)
        for name, values in outputs.items():
            assert answers[name].dtype == np.float32
            assert answers[name].shape == (rows,)
            np.testing.assert_allclose(answers[name], values, rtol=0, atol=1e-6)


def test_lists_of_different_width_in_one_request(published):
    network, schema = published.network, published.schema
    raw = raw_rows(schema, 6, lists=2) | {
        "tags": raw_rows(schema, 6, lists=5)["tags"],
        "codes": np.zeros((6, 0), np.int64),
    }
    expected = expected_answers(network, schema, raw)["serving_default"]
    answers = published.ask("serving_default", raw)
    for name, values in expected.items():
        np.testing.assert_allclose(answers[name], values, rtol=0, atol=1e-6)


def test_padding_a_list_changes_no_answer(published):
    schema = published.schema
    raw = raw_rows(schema, 6, lists=2)
    padding = {"tags": np.full((6, 3), b"", object), "codes": np.zeros((6, 3), np.int64)}
    padded = raw | {
        name: np.concatenate([raw[name], more], axis=1) for name, more in padding.items()
    }
    first, second = (published.ask("serving_default", rows) for rows in (raw, padded))
    for name in first:
        np.testing.assert_allclose(first[name], second[name], rtol=0, atol=1e-6)


def test_rows_do_not_depend_on_their_batch(published):
    schema = published.schema
    raw = raw_rows(schema, 7)
    whole = published.ask("serving_default", raw)
    alone = published.ask("serving_default", {n: rows[4:5] for n, rows in raw.items()})
    for name in whole:
        np.testing.assert_allclose(alone[name], whole[name][4:5], rtol=0, atol=1e-6)


def test_values_that_stand_for_absence_agree_with_each_other(published):
    schema = published.schema
    raw = raw_rows(schema, 2)
    raw["source"] = np.array([b"-1", b""], object)
    raw["age"] = np.array([np.nan, np.inf], np.float32)
    raw["hour"] = np.array([-1, -1])
    raw["tags"] = np.full((2, 3), b"", object)
    for name in ("user", "video", "device", "length", "codes"):
        raw[name][1] = raw[name][0]
    answers = published.ask("serving_default", raw)
    for name, values in answers.items():
        assert values[0] == values[1], name


def test_signatures_name_their_inputs_and_outputs(published):
    network, schema = published.network, published.schema
    dtypes = {"string": tf.string, "int64": tf.int64, "float32": tf.float32}
    inputs = {
        feature.name: (
            dtypes[feature.dtype].as_datatype_enum,
            [-1, -1] if feature.multivalued else [-1],
        )
        for feature in schema.features
    }
    expected = expected_answers(network, schema, raw_rows(schema, 1))
    assert set(published.definitions) == set(expected)
    for name, definition in published.definitions.items():
        assert definition.method_name == "tensorflow/serving/predict"
        assert _described(definition.inputs) == inputs
        outputs = dict.fromkeys(expected[name], (tf.float32.as_datatype_enum, [-1]))
        assert _described(definition.outputs) == outputs


def _described(tensors):
    return {
        name: (info.dtype, [axis.size for axis in info.tensor_shape.dim])
        for name, info in tensors.items()
    }


def stored_variables(version):
    reader = tf.train.load_checkpoint(str(version / "variables" / "variables"))
    names = [name for name, _ in tf.train.list_variables(str(version / "variables" / "variables"))]
    return {
        name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE"): reader.get_tensor(name)
        for name in names
        if name != "_CHECKPOINTABLE_OBJECT_GRAPH"
    }


def test_masks_are_folded_into_the_stored_kernels(published):
    network, version = published.network, published.version
    stored = stored_variables(version)
    assert not [name for name in stored if "mask" in name]
    for task in network.tasks:
        masks = network.masks(task)
        for depth, (name, kernel) in enumerate(network.kernels(task).items()):
            folded = stored[f"folded/{task}/{depth}"]
            assert np.all(folded[~masks[name]] == 0)
            np.testing.assert_array_equal(folded[masks[name]], kernel.numpy()[masks[name]])


def test_a_saved_model_holds_each_weight_once(published):
    network, version = published.network, published.version
    trained = read_variables(network)
    kernels = [name for name in trained if "tower_" in name and name.endswith("/kernel")]
    expected = [values.shape for name, values in trained.items() if name not in kernels]
    expected += [
        tuple(kernel.shape) for task in network.tasks for kernel in network.kernels(task).values()
    ]
    stored = stored_variables(version)
    assert sorted(values.shape for values in stored.values()) == sorted(expected)
    assert {values.dtype for values in stored.values()} == {np.dtype(np.float32)}
    size = sum(path.stat().st_size for path in (version / "variables").iterdir())
    weights = 4 * sum(values.size for values in stored.values())
    assert weights < size < weights + 16_384  # names, and the object graph


def test_only_chained_tasks_have_products(schema):
    names = {"pctr": ("ctr",), "pcvr": ("cvr",), "plike": ("like",)}
    products = {"pctcvr": ("ctr", "cvr"), "pctr_like": ("ctr", "like")}
    assert answer_names(schema, ["ctr", "cvr", "like"]) == names | products
    assert answer_names(schema, ["cvr", "like"]) == {n: names[n] for n in ("pcvr", "plike")}
    assert answer_names(schema, ["ctr"]) == {"pctr": ("ctr",)}


class Doubler(tf.Module):
    """The smallest model: answers 2 x."""

    @tf.function(input_signature=[{"x": tf.TensorSpec((None,), tf.float32, "x")}])
    def double(self, raw):
        return {"y": 2.0 * raw["x"]}


SAMPLE = {"x": np.array([1.0, 2.0, -3.0], np.float32)}
RIGHT = {"serving_default": {"y": np.array([2.0, 4.0, -6.0], np.float32)}}


def publish_doubler(base, expected=RIGHT):
    model = Doubler()
    signatures = {"serving_default": model.double.get_concrete_function()}
    return publish(model, signatures, base, SAMPLE, expected)


def children(base):
    return sorted(path.name for path in base.iterdir())


def test_versions_count_up_from_1(tmp_path):
    base = tmp_path / "models" / "feed"
    assert published_versions(base) == []
    assert publish_doubler(base) == base / "1"
    assert publish_doubler(base) == base / "2"
    assert published_versions(base) == [base / "1", base / "2"]


def test_only_folders_with_whole_numbers_are_versions(tmp_path):
    for name in (".tmp-0123", "v50", "5.tmp", "latest", "-8", "9", "10"):
        (tmp_path / name).mkdir()
    (tmp_path / "70").touch()
    assert published_versions(tmp_path) == [tmp_path / "9", tmp_path / "10"]
    assert publish_doubler(tmp_path) == tmp_path / "11"


WRONG = {
    "a wrong answer": [2.0, 4.0, -6.00001],
    "nan": [2.0, np.nan, -6.0],
    "infinity": [2.0, np.inf, -6.0],
}


@pytest.mark.parametrize("values", WRONG.values(), ids=WRONG)
def test_a_version_that_answers_otherwise_is_not_published(tmp_path, values):
    publish_doubler(tmp_path)
    wrong = {"serving_default": {"y": np.array(values, np.float32)}}
    with pytest.raises(PublishError, match="signature serving_default, output y: differs"):
        publish_doubler(tmp_path, wrong)
    assert children(tmp_path) == ["1"]


def test_a_version_with_other_outputs_is_not_published(tmp_path):
    wrong = {"serving_default": {"z": RIGHT["serving_default"]["y"]}}
    with pytest.raises(PublishError, match=r"outputs \['y'\], expected \['z'\]"):
        publish_doubler(tmp_path, wrong)
    assert children(tmp_path) == []


def test_answers_within_the_tolerance_are_accepted(tmp_path):
    near = {"serving_default": {"y": np.array([2.0, 4.0, -6.0]) + 9e-7}}
    assert publish_doubler(tmp_path, near).is_dir()


def test_a_model_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(PublishError, match="taken: cannot publish here"):
        publish_doubler(tmp_path / "taken")
    assert children(tmp_path) == ["taken"]


def test_a_network_that_changed_after_its_answers_were_noted_is_not_published(schema, tmp_path):
    schema = schema.with_tasks(TWO)
    network = trained_network(schema, "sparse sharing")
    noted = expected_answers(network, schema, raw_rows(schema, 5))
    network.wear("cvr", random_masks(network, "cvr", seed=9))
    with pytest.raises(PublishError, match="output pcvr"):
        publish_network(network, schema, tmp_path, noted)
    assert children(tmp_path) == []


def test_a_version_is_complete_when_it_appears(tmp_path):
    """A server that polls the folder never sees a half-written version."""
    first_sight = {}
    ended = threading.Event()

    def poll():
        while not ended.is_set():
            for version in published_versions(tmp_path):
                if version not in first_sight:
                    first_sight[version] = contents(version)

    poller = threading.Thread(target=poll)
    poller.start()
    try:
        version = publish_doubler(tmp_path)
    finally:
        ended.set()
        poller.join()
    assert first_sight.get(version, contents(version)) == contents(version)
    assert {"saved_model.pb", "variables/variables.index"} <= set(contents(version))


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file()
    }
