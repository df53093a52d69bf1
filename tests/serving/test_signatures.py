"""Exported signatures against the network that they were exported from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from lt4rec_tf.models.feature_encoder import is_table
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.serving.publish import PublishError, publish, published_versions
from lt4rec_tf.serving.requests import requests_of, serialized_examples
from lt4rec_tf.serving.signatures import ServedModel, answer_names
from tests.support.networks import read_variables
from tests.support.served_networks import (
    NETWORKS,
    SAVED_WHOLE,
    TWO,
    _missing,
    expected_answers,
    raw_rows,
    trained_network,
)
from tests.support.training import random_masks

pytestmark = pytest.mark.slow(minutes=1)

_STRING = tf.string.as_datatype_enum


def expected_of_examples(expected, tasks):
    """What signatures that take serialized examples answer to the same rows."""
    regressed = {f"regress_{task}": {"outputs": expected[task][f"p{task}"]} for task in tasks}
    return {"tf_example": expected["serving_default"]} | regressed


@dataclass(frozen=True)
class Published:
    network: RankingNetwork
    schema: Schema
    version: Path
    ask: Callable  # (signature, raw rows) -> answers, as a server that has loaded the version
    definitions: dict


@pytest.fixture(scope="module", params=SAVED_WHOLE)
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


def publish_network(network, schema, base, expected=None, **options):
    served = ServedModel(network, schema, **options)
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


def test_a_list_is_cut_at_its_max_values(published):
    """Tags keep 3 values and codes 4: what stands behind them changes no answer."""
    schema = published.schema
    raw = raw_rows(schema, 6, lists=9)
    most = {"tags": 3, "codes": 4}
    assert most == {f.name: f.max_values for f in schema.features if f.multivalued}
    cut = raw | {name: raw[name][:, :length] for name, length in most.items()}

    for signature in expected_answers(published.network, schema, raw):
        whole, first = (published.ask(signature, rows) for rows in (raw, cut))
        for name in whole:
            np.testing.assert_array_equal(whole[name], first[name])
    examples = [serialized_examples(schema, rows) for rows in (raw, cut)]
    for signature, name in [("tf_example", "examples"), (f"regress_{TWO[1]}", "inputs")]:
        whole, first = (published.ask(signature, {name: sent}) for sent in examples)
        for output in whole:
            np.testing.assert_array_equal(whole[output], first[output])


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


def test_a_version_holds_the_ids_of_rows_once_for_all_signatures(published):
    # Nodes, more than weights, make up a server's memory and its time to load.
    content = (published.version / "saved_model.pb").read_bytes()
    functions = SavedModel.FromString(content).meta_graphs[0].graph_def.library.function
    hashing = [
        function.signature.name
        for function in functions
        if any(node.op == "StringToHashBucketFast" for node in function.node_def)
    ]
    assert len(published.definitions) >= 4
    assert len(hashing) == 1


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
    if layout.mask is not None:
        trained += layout.mask.size / 8
    if in_bits:
        trained -= 4 * np.count_nonzero(~layout.mask)
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
