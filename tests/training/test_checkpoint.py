"""Checkpoints: what is saved comes back, and damage is found."""

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.training import checkpoint
from lt4rec_tf.training.checkpoint import CheckpointError
from tests.support.networks import build_small


def values_of(variables):
    return {name: variable.numpy() for name, variable in variables.items()}


@pytest.mark.parametrize("cross", ["gram", "triangle", "dcn_v2", "none"])
@pytest.mark.parametrize("separate_towers", [False, True])
def test_every_variable_comes_back(small_schema, tmp_path, cross, separate_towers):
    network = build_small(small_schema, separate_towers=separate_towers, cross=cross)
    rng = np.random.default_rng(0)
    for variable in network.variables.values():  # biases of 0 would come back by chance
        variable.assign(rng.normal(size=variable.shape).astype(np.float32))
    saved_values = values_of(network.variables)
    checkpoint.save(tmp_path / "weights", network.variables)
    for variable in network.model.trainable_variables:
        variable.assign(tf.fill(variable.shape, 9.0))
    checkpoint.restore(tmp_path / "weights", network.variables)
    for name, variable in network.variables.items():
        np.testing.assert_array_equal(variable.numpy(), saved_values[name], err_msg=name)
    assert not any((v.numpy() == 9.0).any() for v in network.model.trainable_variables)


def test_types_other_than_float32_come_back(tmp_path):
    saved = {
        "step": tf.Variable(2**40, dtype=tf.int64),
        "sum": tf.Variable([0.1], dtype=tf.float64),
    }
    checkpoint.save(tmp_path / "state", saved)
    other = {"step": tf.Variable(0, dtype=tf.int64), "sum": tf.Variable([0.0], dtype=tf.float64)}
    checkpoint.restore(tmp_path / "state", other)
    assert values_of(other) == values_of(saved)


@pytest.mark.parametrize("name", ["run [1]", "all*", "what?", "a\\b"])
def test_a_folders_name_is_no_pattern(tmp_path, name):
    (tmp_path / "run 1").mkdir()
    checkpoint.save(tmp_path / "run 1" / "weights", {"a": tf.Variable([9.0])})
    checkpoint.save(tmp_path / name / "weights", {"a": tf.Variable([1.0, 2.0])})
    read_back = {"a": tf.Variable([0.0, 0.0])}
    checkpoint.restore(tmp_path / name / "weights", read_back)
    assert read_back["a"].numpy().tolist() == [1.0, 2.0]
    assert checkpoint.read(tmp_path / name / "weights", "a").tolist() == [1.0, 2.0]
    assert list(checkpoint.read_all(tmp_path / name / "weights")) == ["a"]


def test_variables_can_be_read_under_other_names(tmp_path):
    checkpoint.save(tmp_path / "weights", {"tower": tf.Variable([1.0, 2.0])})
    views = {"ctr/tower": tf.Variable([0.0, 0.0]), "cvr/tower": tf.Variable([0.0, 0.0])}
    checkpoint.restore(tmp_path / "weights", views, dict.fromkeys(views, "tower"))
    assert [variable.numpy().tolist() for variable in views.values()] == [[1, 2], [1, 2]]


def test_saving_again_replaces(tmp_path):
    variable = tf.Variable([1.0])
    checkpoint.save(tmp_path / "weights", {"a": variable})
    variable.assign([2.0])
    checkpoint.save(tmp_path / "weights", {"a": variable})
    variable.assign([0.0])
    checkpoint.restore(tmp_path / "weights", {"a": variable})
    assert variable.numpy() == [2.0]
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


@pytest.fixture
def saved(tmp_path):
    rows = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    checkpoint.save(tmp_path / "weights", {"a": tf.Variable(rows), "b": tf.Variable([1.0])})
    return tmp_path / "weights"


@pytest.mark.parametrize(
    ("name", "variable", "message"),
    [
        ("c", tf.Variable([0.0]), r"no variable 'c', found \['a', 'b'\]"),
        ("b", tf.Variable([0.0, 0.0]), r"b has shape \[1\], expected \[2\]"),
        ("b", tf.Variable([0], dtype=tf.int64), "b .*float32.*expected int64"),
    ],
)
def test_variables_that_do_not_fit_are_refused(saved, name, variable, message):
    first = tf.Variable(np.zeros((100, 3), np.float32))
    with pytest.raises(CheckpointError, match=f"{re.escape(str(saved))}: {message}"):
        checkpoint.restore(saved, {"a": first, name: variable})
    assert not first.numpy().any(), "restored in part"


def test_an_absent_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="weights: no readable checkpoint"):
        checkpoint.restore(tmp_path / "weights", {"b": tf.Variable([0.0])})


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def remove(path):
    path.unlink()


@pytest.mark.parametrize("damage", [cut_in_half, remove])
@pytest.mark.parametrize("part", ["index", "data"])
def test_damaged_checkpoints_are_refused(saved, part, damage):
    (path,) = saved.glob(f"*.{part}*")
    damage(path)
    variables = {"b": tf.Variable([0.0]), "a": tf.Variable(np.zeros((100, 3), np.float32))}
    with pytest.raises(CheckpointError, match=re.escape(str(saved))):
        checkpoint.restore(saved, variables)
    assert not any(variable.numpy().any() for variable in variables.values()), "restored in part"


@pytest.mark.parametrize("part", ["index", "data"])
def test_one_wrong_byte_anywhere_is_refused_or_harmless(tmp_path, part):
    checkpoint.save(tmp_path, {"a": tf.Variable([[1.0, 2.0], [3.0, 4.0]]), "b": tf.Variable([5.0])})
    (path,) = tmp_path.glob(f"*.{part}*")
    content = path.read_bytes()

    refused = 0
    for byte_index in range(len(content)):
        path.write_bytes(
            content[:byte_index] + bytes([content[byte_index] ^ 0xFF]) + content[byte_index + 1 :]
        )

        variables = {"a": tf.Variable(tf.zeros((2, 2))), "b": tf.Variable([0.0])}
        try:
            checkpoint.restore(tmp_path, variables)
        except CheckpointError:
            refused += 1
            continue

        # The index is padded; the values are not.
        assert variables["a"].numpy().tolist() == [[1, 2], [3, 4]], byte_index
        assert variables["b"].numpy().tolist() == [5], byte_index
    assert refused == len(content) if part == "data" else refused > len(content) / 2


def test_a_failed_save_leaves_the_old_checkpoint_alone(saved):
    with pytest.raises(ValueError, match="object"):
        checkpoint.save(saved, {"b": tf.Variable([3.0]), "a": object()})
    b = tf.Variable([0.0])
    checkpoint.restore(saved, {"b": b})
    assert b.numpy() == [1.0]
    assert [path.name for path in saved.parent.iterdir()] == ["weights"]


def test_a_save_killed_while_writing_leaves_nothing_half_written(tmp_path, monkeypatch):
    def write_in_part(prefix, **rest):
        Path(f"{prefix}.index").write_text("half")
        raise OSError("no space left on device")

    monkeypatch.setattr(tf.raw_ops, "SaveV2", write_in_part)
    with pytest.raises(OSError, match="no space"):
        checkpoint.save(tmp_path / "weights", {"b": tf.Variable([1.0])})
    assert list(tmp_path.iterdir()) == []
