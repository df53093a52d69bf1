"""Masks: densities, overlaps, files."""

import hashlib
import io
import math
import pickle
import zipfile
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lt4rec_tf.tickets.masks import (
    MaskError,
    dead_neurons,
    densities,
    density,
    find_dead_neurons,
    ones,
    ones_like,
    overlap,
    overlaps,
    read_masks,
    union,
    write_masks,
)

TICKET = {
    "tower_0": np.array([[True, False, True], [False, False, True]]),
    "tower_1": np.array([[True], [False], [True]]),
}
SHAPES = {"tower_0": (2, 3), "tower_1": (3, 1)}


@st.composite
def chains(draw):
    """Masks of two to four consecutive layers."""
    widths = draw(st.lists(st.integers(1, 5), min_size=3, max_size=5))
    shapes = list(pairwise(widths))
    return {f"tower_{k}": draw(arrays(bool, shape)) for k, shape in enumerate(shapes)}


@st.composite
def ticket_pairs(draw):
    shape = draw(array_shapes(min_dims=2, max_dims=2, max_side=6))
    return [{"tower_0": draw(arrays(bool, shape))} for _ in range(2)]


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "masks.npz"
    write_masks(path, TICKET)
    return path


def assert_equal_masks(found, expected):
    assert list(found) == list(expected)
    for name, mask in expected.items():
        assert found[name].dtype == bool
        np.testing.assert_array_equal(found[name], mask)


# Density and overlap


def test_ones_keep_everything():
    assert_equal_masks(ones(SHAPES), ones_like(TICKET))
    assert density(ones(SHAPES)) == 1.0
    assert densities(ones(SHAPES)) == {"tower_0": 1.0, "tower_1": 1.0}


def test_density_weighs_kernels_by_size():
    assert density(TICKET) == 5 / 9
    assert densities(TICKET) == {"tower_0": 3 / 6, "tower_1": 2 / 3}


def test_overlap_by_hand():
    other = {
        "tower_0": np.array([[True, True, False], [False, False, True]]),
        "tower_1": np.array([[False], [True], [False]]),
    }
    # tower_0: 2 in both, 4 in either; tower_1: 0 in both, 3 in either.
    assert overlap([TICKET, other]) == 2 / 7
    assert overlaps([TICKET, other]) == {"tower_0": 2 / 4, "tower_1": 0.0}


def test_overlap_of_three_tickets_counts_what_all_keep():
    tickets = [{"tower_0": np.array([row], bool)} for row in ([1, 1, 0, 0], [1, 0, 1, 0], [1] * 4)]
    assert overlap(tickets) == 1 / 4


def test_overlap_of_nothing_is_undefined():
    nothing = {"tower_0": np.zeros((2, 2), bool)}
    assert math.isnan(overlap([nothing, nothing]))
    assert math.isnan(density({}))


@given(ticket_pairs())
def test_overlap_is_symmetric_and_one_with_itself(pair):
    assert overlap(pair) == pytest.approx(overlap(pair[::-1]), nan_ok=True)
    if pair[0]["tower_0"].any():
        assert overlap([pair[0], pair[0]]) == 1.0
        assert 0.0 <= overlap(pair) <= 1.0


@given(ticket_pairs())
def test_union_keeps_what_either_keeps(pair):
    either = union(pair)["tower_0"]
    assert either.dtype == bool
    np.testing.assert_array_equal(either, pair[0]["tower_0"] | pair[1]["tower_0"])


@pytest.mark.parametrize("function", [overlap, overlaps, union])
def test_tickets_over_other_kernels_are_refused(function):
    with pytest.raises(MaskError, match=r"ticket 1: found .*\(2, 2\).*ticket 0, .*\(2, 3\)"):
        function([TICKET, TICKET | {"tower_0": np.ones((2, 2), bool)}])
    with pytest.raises(MaskError, match="tower_1"):
        function([TICKET, {"tower_0": TICKET["tower_0"]}])
    with pytest.raises(MaskError, match="no ticket"):
        function([])


# Dead neurons


def test_a_dense_tower_has_no_dead_neurons():
    assert dead_neurons(ones(SHAPES)) == {"tower_0": 0, "tower_1": 0}
    assert dead_neurons({}) == {}


def test_constants_spread_upwards_and_unread_neurons_downwards():
    masks = {
        "tower_0": np.array([[1, 1, 0], [0, 0, 0], [0, 0, 1]], bool),
        "tower_1": np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], bool),
        "tower_2": np.array([[1], [0], [1]], bool),
    }
    # Neuron 1 of tower_1 is unread, hence neuron 1 of tower_0, which no other neuron reads.
    assert dead_neurons(masks) == {"tower_0": 1, "tower_1": 1, "tower_2": 0}
    masks["tower_0"][2, 2] = False
    # Neuron 2 of tower_0 hears nothing, hence neuron 2 of tower_1, which hears no other neuron.
    dead = find_dead_neurons(masks)
    np.testing.assert_array_equal(dead["tower_0"], [False, True, True])
    np.testing.assert_array_equal(dead["tower_1"], [False, True, True])
    np.testing.assert_array_equal(dead["tower_2"], [False])


@given(chains())
def test_dead_neurons_are_those_on_no_path_from_an_input_to_the_head(masks):
    kernels = [mask.astype(np.int64) for mask in masks.values()]
    for depth, dead in enumerate(find_dead_neurons(masks).values()):
        paths_in = np.ones(len(kernels[0]), np.int64)
        for kernel in kernels[: depth + 1]:
            paths_in = paths_in @ kernel
        paths_out = np.ones(kernels[-1].shape[1], np.int64)
        for kernel in reversed(kernels[depth + 1 :]):
            paths_out = kernel @ paths_out
        np.testing.assert_array_equal(dead, paths_in * paths_out == 0)


def test_kernels_that_do_not_follow_each_other_are_refused():
    with pytest.raises(MaskError, match=r"'tower_1': found shape \(4, 1\), expected \(3, units\)"):
        dead_neurons({"tower_0": np.ones((2, 3), bool), "tower_1": np.ones((4, 1), bool)})
    with pytest.raises(MaskError, match=r"'tower_0': found shape \(3,\)"):
        dead_neurons({"tower_0": np.ones(3, bool)})


# Files


@given(chains())
def test_masks_come_back_as_they_were_written(tmp_path_factory, masks):
    path = tmp_path_factory.mktemp("masks") / "masks.npz"
    write_masks(path, masks)
    assert_equal_masks(read_masks(path, {name: mask.shape for name, mask in masks.items()}), masks)


def test_equal_masks_give_equal_bytes(written, tmp_path):
    other = tmp_path / "other.npz"
    other_way = {name: np.asfortranarray(TICKET[name]) for name in reversed(TICKET)}
    write_masks(other, other_way)
    assert other.read_bytes() == written.read_bytes()
    with zipfile.ZipFile(written) as archive:  # no clock in it
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}


def test_masks_are_read_in_the_order_of_the_model(written):
    assert list(read_masks(written, dict(reversed(SHAPES.items())))) == ["tower_1", "tower_0"]


def test_numpy_alone_can_read_the_file(written):
    with np.load(written, allow_pickle=False) as archive:
        units = int(archive["tower_0.units"])
        bits = np.unpackbits(archive["tower_0"], axis=-1, count=units)
    np.testing.assert_array_equal(bits, TICKET["tower_0"])


def test_a_weight_takes_a_bit(tmp_path):
    mask = np.random.default_rng(0).random((1000, 64)) < 0.5
    write_masks(tmp_path / "masks.npz", {"table": mask})
    assert mask.size / 8 < (tmp_path / "masks.npz").stat().st_size < 1.1 * mask.size / 8


@given(st.data())
def test_any_changed_byte_is_noticed(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("masks") / "masks.npz"
    write_masks(path, TICKET)
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(content))
    with pytest.raises(MaskError, match=r"masks\.npz: damaged"):
        read_masks(path, SHAPES)


def test_one_flipped_bit_anywhere_is_noticed(written):
    content = written.read_bytes()
    for position in range(len(content)):
        written.write_bytes(
            content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]
        )
        with pytest.raises(MaskError, match="damaged"):
            read_masks(written, SHAPES)


def test_a_cut_off_or_lengthened_file_is_noticed(written):
    content = written.read_bytes()
    for length in range(len(content)):
        written.write_bytes(content[:length])
        with pytest.raises(MaskError, match="damaged"):
            read_masks(written, SHAPES)
    written.write_bytes(content + b"\0")
    with pytest.raises(MaskError, match="damaged"):
        read_masks(written, SHAPES)


def test_a_file_by_another_program_is_refused(tmp_path):
    path = tmp_path / "masks.npz"
    np.savez(path, **TICKET)
    with pytest.raises(MaskError, match=r"found checksum .*, expected the SHA-256"):
        read_masks(path, SHAPES)


def sealed(archive):
    digest = hashlib.sha256(archive).hexdigest().encode()
    return archive[:-2] + len(digest).to_bytes(2, "little") + digest


PACKED = {
    "tower_0": np.array([[160], [32]], np.uint8),
    "tower_0.units": np.array(3),
    "tower_1": np.array([[128], [0], [128]], np.uint8),
    "tower_1.units": np.array(1),
}


def npz(**members):
    buffer = io.BytesIO()
    np.savez(buffer, **members)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (b"not an archive\0\0", "npz archive"),
        (pickle.dumps(TICKET) + b"\0\0", "npz archive"),
        (npz(**PACKED | {"tower_0": np.array([None])}), "Object arrays"),
        (npz(**PACKED | {"tower_0": np.ones((2, 1))}), "'tower_0': found float64"),
        (npz(**PACKED | {"tower_0.units": np.array(3.0)}), "'tower_0': found uint8 and float64"),
        (npz(**PACKED | {"tower_0.units": np.array([3])}), "expected bits and a number"),
        (npz(**PACKED | {"tower_0": np.array([[224], [1]], np.uint8)}), "more bits than"),
        (npz(tower_0=PACKED["tower_0"]), "tower_0.units is not a file"),
    ],
)
def test_a_right_checksum_does_not_let_wrong_content_in(tmp_path, archive, message):
    path = tmp_path / "masks.npz"
    path.write_bytes(sealed(archive))
    with pytest.raises(MaskError, match=message):
        read_masks(path, SHAPES)


def test_masks_of_another_model_are_refused(written):
    with pytest.raises(
        MaskError, match=r"masks\.npz: kernel 'tower_0': .*shape \(2, 3\), expected \(3, 2\)"
    ):
        read_masks(written, SHAPES | {"tower_0": (3, 2)})
    with pytest.raises(MaskError, match=r"found kernels \['tower_0', 'tower_1'\], expected"):
        read_masks(written, SHAPES | {"tower_2": (1, 1)})
    with pytest.raises(MaskError, match=r"expected \['tower_0'\]"):
        read_masks(written, {"tower_0": (2, 3)})


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(MaskError, match=r"absent\.npz: masks cannot be read"):
        read_masks(tmp_path / "absent.npz", SHAPES)


def test_only_bool_is_written(tmp_path):
    path = tmp_path / "masks.npz"
    with pytest.raises(MaskError, match=r"'tower_0': found dtype float32, expected bool"):
        write_masks(path, {"tower_0": np.ones((2, 3), np.float32)})
    assert not path.exists()
