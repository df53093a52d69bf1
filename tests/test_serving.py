from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit

from lt4rec_tf.data.input.features import features_to_ids
from lt4rec_tf.models.feature_encoder import is_table
from lt4rec_tf.models.network import RankingNetwork, read_variables
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.serving.publish import PublishError, publish, published_versions
from lt4rec_tf.serving.requests import requests_of, serialized_examples
from lt4rec_tf.serving.signatures import ServedModel, answer_names
from tests.conftest import SMALL_SCHEMA, build_small
from tests.small_models import SAMPLED, build_model, build_with_own_views, build_with_ticket
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
_STRING = tf.string.as_datatype_enum
TWO, THREE = ["ctr", "cvr"], ["ctr", "cvr", "like"]
# tasks, and what builds their network
NETWORKS = {
    "sparse sharing": (TWO, partial(build_small, seed=3)),
    "separate towers": (TWO, partial(build_small, separate_towers=True, cross="triangle", seed=3)),
    "single task": (["cvr"], partial(build_small, cross="dcn_v2", seed=3)),
    "three tasks": (THREE, partial(build_small, seed=3)),
    "rows cut": (THREE, partial(build_with_ticket, "row")),
    "dimensions cut": (TWO, partial(build_with_ticket, "dimension", separate_towers=True)),
    "numbers cut": (TWO, partial(build_with_ticket, "number")),
    "own views": (THREE, partial(build_with_own_views, {"cvr": 3, "like": 2})),
    "esmm": (THREE, partial(build_model, "esmm")),
    "mmoe": (THREE, partial(build_model, "mmoe")),
    "ple": (TWO, partial(build_model, "ple")),
    "aitm": (THREE, partial(build_model, "aitm")),
    "htlnet": (THREE, partial(build_model, "htlnet", transfer=SAMPLED)),
    "htlnet, one tower": (
        THREE,
        partial(build_model, "htlnet", transfer=SAMPLED, separate_towers=False),
    ),
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
    everything = {f"p{task}": chances for task, chances in by_task.items()}
    if "ctr" in by_task and "cvr" in by_task:
        everything["pctcvr"] = by_task["ctr"] * by_task["cvr"]
    if "ctr" in by_task and "like" in by_task:
        everything["pctr_like"] = by_task["ctr"] * by_task["like"]
    expected = {name.removeprefix("p"): {name: values} for name, values in everything.items()}
    return expected | {"serving_default": everything}


def expected_of_examples(expected, tasks):
    """What signatures that take serialized examples answer to the same rows."""
    regressed = {f"regress_{task}": {"outputs": expected[task][f"p{task}"]} for task in tasks}
    return {"tf_example": expected["serving_default"]} | regressed


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
    expected = expected | expected_of_examples(expected, network.tasks)
    signatures = served.signatures()
    return publish(served, signatures, base, requests_of(schema, signatures, sample), expected)


@pytest.mark.parametrize(("rows", "lists"), [(64, 3), (7, 1), (1, 5), (7, 0), (0, 2), (0, 0)])
def test_a_saved_model_answers_as_the_network_predicts(published, rows, lists):
    network, schema = published.network, published.schema
    raw = raw_rows(schema, rows, lists, seed=rows + lists)
    expected = expected_answers(network, schema, raw)
    for signature, outputs in expected.items():
        answers = published.ask(signature, raw)
        assert set(answers) == set(outputs)
        for name, values in outputs.items():
            assert answers[name].dtype == np.float32
            assert answers[name].shape == (rows,)
            np.testing.assert_allclose(answers[name], values, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("rows", "lists"), [(64, 3), (1, 5), (7, 0), (0, 2)])
def test_serialized_examples_are_answered_as_the_rows_they_hold(published, rows, lists):
    network, schema = published.network, published.schema
    raw = raw_rows(schema, rows, lists, seed=rows + lists)
    expected = expected_of_examples(expected_answers(network, schema, raw), network.tasks)
    for signature, outputs in expected.items():
        name = "examples" if signature == "tf_example" else "inputs"
        answers = published.ask(signature, {name: serialized_examples(schema, raw)})
        assert set(answers) == set(outputs)
        for output, values in outputs.items():
            assert (answers[output].dtype, answers[output].shape) == (np.float32, (rows,))
            np.testing.assert_allclose(answers[output], values, rtol=0, atol=1e-6)


def test_an_example_without_features_has_every_value_missing(published):
    schema = published.schema
    raw = {
        feature.name: np.full((1, 1) if feature.multivalued else 1, _missing(feature), object)
        for feature in schema.features
    }
    dtypes = {"string": object, "int64": np.int64, "float32": np.float32}
    raw = {f.name: raw[f.name].astype(dtypes[f.dtype]) for f in schema.features}
    nothing = published.ask("tf_example", {"examples": np.array([b""], object)})
    for name, values in published.ask("serving_default", raw).items():
        np.testing.assert_allclose(nothing[name], values, rtol=0, atol=1e-6)


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
    examples = expected_of_examples(expected, network.tasks)
    assert set(published.definitions) == {*expected, *examples}
    for name, definition in published.definitions.items():
        assert definition.method_name == "tensorflow/serving/predict"
        if name in expected:
            assert _described(definition.inputs) == inputs
        else:
            text = {"examples" if name == "tf_example" else "inputs": (_STRING, [-1])}
            assert _described(definition.inputs) == text
        names = (expected | examples)[name]
        outputs = dict.fromkeys(names, (tf.float32.as_datatype_enum, [-1]))
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


def test_no_mask_is_stored_as_numbers(published):
    """A mask is folded into what is stored, or takes a bit a weight."""
    stored = stored_variables(published.version)
    for task in published.network.tasks:
        for mask in published.network.masks(task).values():
            assert not any(
                values.shape == mask.shape
                and np.array_equal(values != 0, mask)
                and values.max() == 1
                for values in stored.values()
            )


def test_a_saved_model_holds_each_weight_once(published):
    network, version = published.network, published.version
    stored = stored_variables(version)
    contents = [values.tobytes() for values in stored.values() if values.size > 1]
    assert len(set(contents)) == len(contents)
    shapes = [values.shape for values in stored.values()]
    layout = network.model.get_layer("shared.embedding").layout
    in_bits = layout.cuts_numbers
    for name, values in read_variables(network).items():
        if is_table(name):
            assert shapes.count(values.shape) == (0 if in_bits else 1), name
    trained = sum(values.nbytes for values in read_variables(network).values())
    if layout.kept is not None:
        trained += layout.kept.size / 8
    if in_bits:
        trained -= 4 * np.count_nonzero(~layout.kept)
    masks = sum(mask.size for task in network.tasks for mask in network.masks(task).values())
    size = sum(path.stat().st_size for path in (version / "variables").iterdir())
    held = sum(values.nbytes for values in stored.values())
    assert held <= trained + masks / 8 + 8 * len(stored)
    assert held < size < held + 16_384  # names, and the object graph


def test_only_chained_tasks_have_products(schema):
    names = {"pctr": ("ctr",), "pcvr": ("cvr",), "plike": ("like",)}
    products = {"pctcvr": ("ctr", "cvr"), "pctr_like": ("ctr", "like")}
    assert answer_names(schema, ["ctr", "cvr", "like"]) == names | products
    assert answer_names(schema, ["cvr", "like"]) == {n: names[n] for n in ("pcvr", "plike")}
    assert answer_names(schema, ["ctr"]) == {"pctr": ("ctr",)}


def test_a_network_that_changed_after_its_answers_were_noted_is_not_published(schema, tmp_path):
    schema = schema.with_tasks(TWO)
    network = trained_network(schema, "sparse sharing")
    noted = expected_answers(network, schema, raw_rows(schema, 5))
    network.wear("cvr", random_masks(network, "cvr", seed=9))
    with pytest.raises(PublishError, match="output pcvr"):
        publish_network(network, schema, tmp_path, noted)
    assert published_versions(tmp_path) == []
