"""Files of users and their items: what is read, what is counted, what is refused."""

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.public.interactions import Interactions, hold_out, read_split
from tests.support.paths import REAL_DATA


def write(folder, train, test="0 2\n", name="{}.txt"):
    for split, text in (("train", train), ("test", test)):
        (folder / name.format(split)).write_text(text)
    return folder


def pairs_of(interactions):
    return list(zip(interactions.user_ids.tolist(), interactions.item_ids.tolist(), strict=True))


@st.composite
def interactions(draw):
    users, items = draw(st.integers(1, 6)), draw(st.integers(1, 9))
    pair = st.tuples(st.integers(0, users - 1), st.integers(0, items - 1))
    pairs = np.array(draw(st.lists(pair, max_size=30)), np.int64).reshape(-1, 2)
    return Interactions.of_pairs(users, items, pairs[:, 0], pairs[:, 1])


def test_a_small_split_by_hand(tmp_path):
    split = read_split(write(tmp_path, "0 1 0\n2 3\n", "0 2\n1 3 1\n"))
    assert (split.train.users, split.train.items) == (3, 4)
    assert pairs_of(split.train) == [(0, 0), (0, 1), (2, 3)]
    assert pairs_of(split.test) == [(0, 2), (1, 1), (1, 3)]
    assert split.oddities == {
        "test pairs of items that train does not know": 1,
        "test pairs of users that train does not know": 2,
        "users without a train pair": 1,
        "users without a test pair": 1,
    }


def test_gzip_is_read_alike(tmp_path):
    for split, text in (("train", b"0 1 0\n"), ("test", b"0 2\n")):
        (tmp_path / f"{split}.txt.gz").write_bytes(gzip.compress(text))
    assert pairs_of(read_split(tmp_path).train) == [(0, 0), (0, 1)]


def test_pairs_that_come_twice_count_once(tmp_path):
    split = read_split(write(tmp_path, "0 1 1 0 1\n", "0 2 2\n"))
    assert pairs_of(split.train) == [(0, 0), (0, 1)]
    assert pairs_of(split.test) == [(0, 2)]
    assert split.oddities["train pairs that come twice"] == 2
    assert split.oddities["test pairs that come twice"] == 1


def test_pairs_of_test_that_train_has_are_left_out(tmp_path):
    split = read_split(write(tmp_path, "0 1 2\n", "0 2 0\n"))
    assert pairs_of(split.test) == [(0, 0)]
    assert split.oddities["test pairs that train has, left out"] == 1


def test_users_without_items_and_empty_lines_are_no_fault(tmp_path):
    split = read_split(write(tmp_path, "0 1 0\n\n1\n", "1 1\n"))
    assert split.train.counts.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("1 x", "'x'"),
        ("1 -3", "'-3'"),
        ("1 2.5", "'2.5'"),
        ("1,2", "'1,2'"),
        ("1 9" + 19 * "9", "9"),
    ],
)
def test_what_is_no_whole_number_is_refused_with_its_line(tmp_path, line, found):
    with pytest.raises(DataError, match=rf"train\.txt, line 2: found '?.*{found[:4]}"):
        read_split(write(tmp_path, f"0 1\n{line}\n"))


def test_a_user_on_two_lines_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"train\.txt, line 3: found user 0 again, who has line 1"):
        read_split(write(tmp_path, "0 1\n1 1\n0 2\n"))


def test_ids_that_number_no_rows_are_refused(tmp_path):
    with pytest.raises(DataError, match="found item 1,000,000,000 with 2 items in all"):
        read_split(write(tmp_path, "0 1000000000\n"))


def test_an_absent_an_empty_and_a_cut_file_are_named(tmp_path):
    with pytest.raises(DataError, match=r"found neither train\.txt nor train\.txt\.gz"):
        read_split(tmp_path)
    with pytest.raises(DataError, match=r"no pair of user and item to train on"):
        read_split(write(tmp_path, "0\n"))
    (tmp_path / "train.txt").unlink()
    whole = gzip.compress(b"0 1 2 3\n" * 50)
    (tmp_path / "train.txt.gz").write_bytes(whole[:-9])
    with pytest.raises(DataError, match=r"train\.txt\.gz: cannot be read"):
        read_split(tmp_path)


@given(st.binary(max_size=60))
def test_random_bytes_are_read_or_refused(tmp_path_factory, content):
    folder = write(tmp_path_factory.mktemp("bytes"), "", "")
    (folder / "train.txt").write_bytes(content)
    try:
        split = read_split(folder)
    except DataError:
        return
    assert len(split.train.item_ids) > 0


@given(interactions(), st.floats(0, 0.99), st.integers(0, 9))
def test_holding_out_divides_the_pairs(whole, share, seed):
    left, held = hold_out(whole, share, seed)
    assert sorted(pairs_of(left) + pairs_of(held)) == pairs_of(whole)
    wanted = np.minimum(np.rint(share * whole.counts), np.maximum(whole.counts - 1, 0))
    np.testing.assert_array_equal(held.counts, wanted)
    assert pairs_of(hold_out(whole, share, seed)[1]) == pairs_of(held)


def test_what_is_held_out_depends_on_the_seed_and_favours_no_place():
    whole = Interactions.of_pairs(1, 1000, np.zeros(1000, np.int64), np.arange(1000))
    first, second = (hold_out(whole, 0.5, seed)[1].item_ids for seed in (0, 1))
    assert first.tolist() != second.tolist()
    assert abs(first.mean() - 499.5) < 60  # 5 deviations of the mean of 500 of 1000


@given(interactions())
def test_membership_is_that_of_a_set(whole):
    users, items = (grid.ravel() for grid in np.mgrid[: whole.users, : whole.items])
    expected = [pair in set(pairs_of(whole)) for pair in zip(users, items, strict=True)]
    assert whole.have(users, items).tolist() == expected


@given(interactions(), st.integers(0, 9))
def test_pairs_of_some_users_are_theirs(whole, seed):
    users = np.random.default_rng(seed).permutation(whole.users)[:3]
    places, items = whole.of_users(users)
    assert list(zip(users[places], items, strict=True)) == [
        pair for user in users for pair in pairs_of(whole) if pair[0] == user
    ]


@pytest.mark.skipif(not (REAL_DATA / "gowalla").exists(), reason="no real data here")
def test_gowalla_has_the_published_counts():
    split = read_split(REAL_DATA / "gowalla")
    assert (split.train.users, split.train.items) == (29_858, 40_981)
    assert (len(split.train.item_ids), len(split.test.item_ids)) == (810_128, 217_242)
    assert split.oddities == {}
