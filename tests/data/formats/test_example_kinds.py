"""Values of one column in several kinds of lists, and columns that appear late: none is lost."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.data.audit.audit import audit
from lt4rec_tf.data.formats.example_kinds import kinds_of, with_texts
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.input.pipeline import batches, raw_batches
from lt4rec_tf.data.input.source import open_source
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.data.inspect import command as inspect
from lt4rec_tf.schema.reader import load_schema
from tests.support.feeds import example, good_row, numbers, opened, schema, write_records

pytestmark = pytest.mark.slow(minutes=1)

NUMBERS = ("int64_list", "float_list")


def record(**values):
    """An Example of columns as (kind, values)."""
    made = tf.train.Example()
    for name, (kind, some) in values.items():
        getattr(made.features.feature[name], kind).value.extend(some)
    return made.SerializeToString(deterministic=True)


def changed(number, **values):
    """Row `number` of the small feed with columns in kinds of their own."""
    made = tf.train.Example.FromString(example(good_row(number)))
    for name, (kind, some) in values.items():
        made.features.feature[name].Clear()
        getattr(made.features.feature[name], kind).value.extend(some)
    return made.SerializeToString()


def test_numbers_become_the_texts_that_mean_them():
    whole = record(a=("int64_list", [2**62 + 1, -7]), b=("float_list", [7, 0.1, 2.0**30, -0.5]))
    assert kinds_of(whole) == {"a": "int64", "b": "float32"}
    texts = with_texts(whole, {"a": "string", "b": "string"})
    assert kinds_of(texts) == {"a": "string", "b": "string"}
    feature = tf.train.Example.FromString(texts).features.feature
    assert list(feature["a"].bytes_list.value) == [b"4611686018427387905", b"-7"]
    assert list(feature["b"].bytes_list.value) == [b"7", b"0.1", b"1.0737418e+09", b"-0.5"]


def test_numbers_too_small_are_0_in_every_thread():
    """Of which TensorFlow tells some to take them for 0: a record must not differ by its thread."""
    whole = record(a=("float_list", [1e-40, -1e-45, 2.0**-126]))

    def read():
        return with_texts(whole, {"a": "string"})

    in_a_thread = tf.data.Dataset.range(1).map(lambda _: tf.numpy_function(read, [], tf.string))
    assert next(in_a_thread.as_numpy_iterator()) == read()
    feature = tf.train.Example.FromString(read()).features.feature
    assert list(feature["a"].bytes_list.value) == [b"0", b"0", b"1.1754944e-38"]


def test_what_is_as_it_should_be_is_not_touched():
    whole = record(a=("bytes_list", [b"x"]), b=("int64_list", [1]))
    assert with_texts(whole, {"a": "string", "b": "int64"}) is whole
    assert with_texts(b"no example", {"a": "string"}) == b"no example"


@given(st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False))
def test_the_text_of_a_float_means_it(value):
    texts = with_texts(record(a=("float_list", [value])), {"a": "string"})
    (text,) = tf.train.Example.FromString(texts).features.feature["a"].bytes_list.value
    assert np.float32(text) == np.float32(value)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("last_kind", NUMBERS)
def test_whole_and_broken_numbers_of_one_column_are_read(tmp_path, packed, last_kind):
    lengths = [float(10 + number / 2) for number in range(600)]
    kinds = ["int64_list" if length.is_integer() else "float_list" for length in lengths]
    kinds[:300] = [last_kind if last_kind == "float_list" else "int64_list"] * 300
    lengths[:300] = map(int, lengths[:300])
    records = [
        changed(number % 30, length=(kind, [int(length) if kind == "int64_list" else length]))
        for number, (kind, length) in enumerate(zip(kinds, lengths, strict=True))
    ]
    name = "log.tfrecord.gz" if packed else "log.tfrecord"
    write_records(tmp_path / name, records)
    source, found = opened(schema(tmp_path, "tfrecord"), tmp_path, SplitRule())
    assert (found.rows, found.unusable, found.kinds["length"]) == (600, {}, "string")
    assert found.odd_files == {name: "column length, which holds float32 and int64"}
    read = np.concatenate([b["length"].numpy() for b in raw_batches(source, "train", 64)])
    np.testing.assert_array_equal(read, np.float32(lengths))
    shuffled = numbers(source, batch_size=64, shuffle_seed=1)
    assert sorted(shuffled) == sorted(number % 30 for number in range(600))


def test_a_user_is_one_as_text_and_as_number_on_another_day(tmp_path):
    users = [2**60 + number % 7 for number in range(20)]
    texts = [changed(n, user=("bytes_list", [b"%d" % user])) for n, user in enumerate(users)]
    whole = [changed(n, user=("int64_list", [user])) for n, user in enumerate(users)]
    write_records(tmp_path / "a.tfrecord", texts)
    write_records(tmp_path / "b.tfrecord", whole)
    source, found = opened(schema(tmp_path, "tfrecord"), tmp_path, SplitRule())
    assert list(found.odd_files) == ["b.tfrecord"]
    (batch,) = batches(source, "train", 40)
    ids = batch["user"].numpy().tolist()
    assert ids[:20] == ids[20:]
    assert len(set(ids)) == 7


def test_a_column_may_appear_late_or_in_some_files_only(tmp_path):
    late = [example(good_row(number, video="")) for number in range(700)]
    for number, one in enumerate(late):
        made = tf.train.Example.FromString(one)
        del made.features.feature["video"]
        late[number] = made.SerializeToString()
    late[650] = example(good_row(650))
    write_records(tmp_path / "a.tfrecord", late[:600])
    (tmp_path / "b.tfrecord").write_bytes(b"")
    write_records(tmp_path / "c.tfrecord.gz", late[600:])
    source, found = opened(schema(tmp_path, "tfrecord"), tmp_path, SplitRule())
    assert (found.rows, found.unusable) == (700, {})
    videos = [b["video"].numpy() for b in raw_batches(source, "train", 100)]
    assert np.flatnonzero(np.concatenate(videos) != b"").tolist() == [650]


def test_a_column_that_no_record_has_is_named(tmp_path):
    write_records(tmp_path / "a.tfrecord", [example(good_row(number)) for number in range(300)])
    path = schema(tmp_path, "tfrecord").path
    path.write_text(path.read_text().replace('name = "video"', 'name = "video"\ncolumn = "vidoe"'))
    with pytest.raises(DataError, match="found no column 'vidoe'"):
        open_source(load_schema(path), tmp_path, SplitRule())


def test_the_list_of_bad_rows_is_of_the_last_reading(tmp_path):
    records = [changed(number, length=(NUMBERS[number % 2], [100])) for number in range(20)]
    records[7] = b"no example"
    write_records(tmp_path / "a.tfrecord", records)
    source = open_source(schema(tmp_path, "tfrecord"), tmp_path, SplitRule())
    with (tmp_path / "list").open("w+b") as listed:
        listed.write(b"before\n")
        found = audit(source, listed=listed)
        listed.seek(0)
        lines = listed.read().decode().splitlines()
    assert (found.rows, found.unusable) == (20, {"unparseable": 1})
    assert [line.split("\t")[:3] for line in lines] == [
        ["before"],
        ["a.tfrecord", "8", "unparseable"],
    ]


def test_inspect_reads_columns_of_several_kinds(tmp_path, capsys):
    records = [
        changed(n, user=(("bytes_list", [b"7"]), ("int64_list", [8]))[n % 2]) for n in range(300)
    ]
    write_records(tmp_path / "b.tfrecord", records)
    flags = [f"--files={tmp_path}/*.tfrecord*", f"--schema_out={tmp_path}/s.toml"]
    assert inspect.main(["inspect", *flags]) == 0
    assert "a sample of 300 rows" in capsys.readouterr().out
    assert load_schema(tmp_path / "s.toml").user == "user"
