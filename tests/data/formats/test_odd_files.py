"""Files that TensorFlow would not read as they are: found, and read to the last row."""

import gzip
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.lines import TextForm
from lt4rec_tf.data.formats.odd_files import oddity, read_records
from lt4rec_tf.data.formats.record_files import open_records
from lt4rec_tf.data.formats.records import Layout

LAYOUT = Layout("csv", ("number", "text"), quoted=True, header_lines=1)
RECORDS = Layout("tfrecord", ())
FIRST, SECOND = b"number,text\n1,a\n2,b\n", b"3,c\n4,d\n"
EMPTY = gzip.compress(b"")


def written(folder, content, name="log"):
    path = folder / name
    path.write_bytes(content)
    return path


def read(path, layout=LAYOUT):
    """The records as training reads them: by TensorFlow unless the file is odd."""
    odd_files = [path] if oddity(path, layout.form) else []
    records = []
    for batch in open_records(path, layout, odd_files).batch(4096):
        records += batch.numpy().tolist()
    return records


def rows(*numbers):
    return [b"%d,%c" % (number, b" abcdefgh"[number]) for number in numbers]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([FIRST, SECOND], ""),
        ([FIRST, SECOND, b""], ""),  # as bgzip ends its files; TensorFlow has read all before
        ([b"", FIRST, SECOND], "an empty gzip member"),
        ([FIRST, b"", SECOND], "an empty gzip member"),
        ([FIRST, b"", b"", SECOND, b""], "an empty gzip member"),
    ],
)
def test_all_members_of_a_gzip_file_are_read(tmp_path, members, expected):
    path = written(tmp_path, b"".join(map(gzip.compress, members)))
    assert oddity(path, LAYOUT.form) == expected
    assert read(path) == rows(1, 2, 3, 4)


@pytest.mark.parametrize("zeros", [1, 2, 7, 512, 200_000])
def test_zeros_behind_the_last_member_are_passed_over(tmp_path, zeros):
    path = written(tmp_path, gzip.compress(FIRST + SECOND) + b"\0" * zeros)
    assert oddity(path, LAYOUT.form) == "zeros behind its last gzip member"
    assert read(path) == rows(1, 2, 3, 4)


def test_an_empty_member_in_another_writing_is_found(tmp_path):
    stored = zlib.compressobj(0, wbits=31)
    path = written(tmp_path, gzip.compress(FIRST) + stored.flush() + gzip.compress(SECOND))
    assert oddity(path, LAYOUT.form) == "an empty gzip member"
    assert read(path) == rows(1, 2, 3, 4)


def test_members_that_are_larger_than_a_chunk_are_read(tmp_path):
    numbers = np.random.default_rng(0).integers(0, 10**9, 300_000)
    lines = [b"%d,x" % number for number in numbers]
    content = b"number,text\n" + b"\n".join(lines) + b"\n"
    parts = [content[:1_000_000], b"", content[1_000_000:]]
    path = written(tmp_path, b"".join(map(gzip.compress, parts)))
    assert read(path) == lines


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("content", "expected", "records"),
    [
        (FIRST.replace(b"\n", b"\r\n"), "", rows(1, 2)),
        (FIRST.replace(b"\n", b"\r"), "a CR that is not followed by LF", rows(1, 2)),
        (FIRST + b"3,c\rc\n", "a CR that is not followed by LF", [*rows(1, 2), b'3,"c\rc"']),
        (
            FIRST + b'3,"c\nc"\n',
            "a line in which a quote is not closed",
            [*rows(1, 2), b'3,"c\nc"'],
        ),
        (FIRST + b'3,"c""c"\n', "", [*rows(1, 2), b'3,"c""c"']),
        (FIRST + b"3,c", "", rows(1, 2, 3)),
        (b"", "", []),
    ],
)
def test_text_that_tensorflow_would_alter_is_found(tmp_path, content, expected, records, packed):
    path = written(tmp_path, gzip.compress(content) if packed else content)
    assert oddity(path, LAYOUT.form) == expected
    assert read(path) == records


def test_a_cr_lf_over_the_end_of_a_chunk_is_no_oddity(tmp_path, monkeypatch):
    path = written(tmp_path, FIRST.replace(b"\n", b"\r\n"))
    for chunk in range(1, 12):
        monkeypatch.setattr("lt4rec_tf.data.formats.odd_files._CHUNK", chunk)
        assert oddity(path, LAYOUT.form) == ""


def test_quotes_mean_nothing_in_tsv(tmp_path):
    path = written(tmp_path, b'number\ttext\n1\t5" tv\n')
    assert oddity(path, TextForm("\t", quoted=False, columns=2)) == ""


def test_tfrecords_behind_an_empty_member_are_read(tmp_path):
    plain = tmp_path / "plain"
    contents = [b"first", b"", b"x" * 100_000]
    with tf.io.TFRecordWriter(str(plain)) as writer:
        for content in contents:
            writer.write(content)
    assert oddity(plain, None) == ""
    members = [EMPTY, gzip.compress(plain.read_bytes()), EMPTY, gzip.compress(plain.read_bytes())]
    path = written(tmp_path, b"".join(members))
    assert oddity(path, None) == "an empty gzip member"
    assert read(path, RECORDS) == contents * 2


def test_tfrecords_that_end_within_a_record_are_refused(tmp_path):
    cut = struct.pack("<QI", 5, 0) + b"fir"
    path = written(tmp_path, gzip.compress(cut))
    with pytest.raises(DataError, match=r"log: .*as TFRecords past record 0 \(it ends within"):
        list(read_records(path, None, 0))


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (gzip.compress(FIRST)[:-9], "it ends within a member"),
        (gzip.compress(FIRST) + EMPTY + gzip.compress(SECOND)[:7], "it ends within a member"),
        (gzip.compress(FIRST) + b"noise", "incorrect header check"),
        (gzip.compress(FIRST)[:-8] + b"\1\2\3\4" + gzip.compress(FIRST)[-4:], "incorrect data"),
    ],
    ids=["cut", "cut behind an empty one", "noise behind it", "a changed byte"],
)
def test_a_broken_gzip_file_is_refused(tmp_path, content, error):
    path = written(tmp_path, content, "log.gz")
    with pytest.raises(DataError, match=rf"log\.gz: found a broken gzip file \(.*{error}"):
        oddity(path, LAYOUT.form)
