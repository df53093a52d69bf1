"""The share of kept negatives: read from a schema and its column, and what the audit finds."""

import numpy as np
import pytest

from lt4rec_tf.data.audit.description import describe
from lt4rec_tf.data.input.pipeline import batches
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import SchemaError, needed_columns, sampled_by_column
from lt4rec_tf.schema.writer import to_toml
from tests.support.conversions import assert_same_rows, quarantine_of, run
from tests.support.feeds import COLUMNS, good_row, opened, schema


def sampled_schema(folder, kept, task="ctr", glob=""):
    path = schema(folder, glob=glob).path
    old = f'[[tasks]]\nname = "{task}"\n'
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, f"{old}negatives_kept = {kept}\n"))
    return load_schema(path)


def write_feed(folder, shares):
    rows = [good_row(number) | {"share": share} for number, share in enumerate(shares)]
    names = [*COLUMNS, "share"]
    lines = [",".join(row[name] for name in names) for row in rows]
    (folder / "a.csv").write_text("\n".join([",".join(names), *lines]) + "\n")


# Clicks, the odd rows, need no share.
SHARES = [("0.5", "", "0.1", "x", "1")[number % 5] for number in range(40)]
for place in range(40):
    SHARES[place] = SHARES[place] if place % 2 or SHARES[place] in ("0.5", "0.1", "1") else "0.25"


def test_a_schema_keeps_a_share_or_a_column(tmp_path):
    for written, share, column in (("0.1", 0.1, None), ('"share"', 1.0, "share"), ("1", 1.0, None)):
        made = sampled_schema(tmp_path, written)
        (tmp_path / "again.toml").write_text(to_toml(made))
        for each in (made, load_schema(tmp_path / "again.toml")):
            task = each.task("ctr")
            assert (task.negatives_kept, task.kept_column) == (share, column)
        assert ("share" in needed_columns(made)) == (column is not None)
        assert sampled_by_column(made, ["ctr", "cvr"]) == (("ctr",) if column else ())


@pytest.mark.parametrize("wrong", ["0", "1.5", "-0.1", "true", '""', "[0.1]", "nan"])
def test_what_is_no_share_is_refused(tmp_path, wrong):
    with pytest.raises(
        SchemaError, match=r"tasks\[ctr\]\.negatives_kept: found .* a share above 0"
    ):
        sampled_schema(tmp_path, wrong)


def test_a_task_without_negatives_has_no_share(tmp_path):
    with pytest.raises(SchemaError, match=r"tasks\[cvr\]\.negatives_kept: found an unknown key"):
        sampled_schema(tmp_path, "0.1", task="cvr")


def test_batches_hold_the_shares_of_negatives(tmp_path):
    write_feed(tmp_path, SHARES)
    source, found = opened(sampled_schema(tmp_path, '"share"'), tmp_path, SplitRule("time", 2, 3))
    assert found.unusable == {}
    (batch,) = batches(source, "train", 50)
    clicked = np.arange(20) % 2
    expected = [1.0 if click else float(SHARES[n]) for n, click in enumerate(clicked)]
    np.testing.assert_allclose(batch["negatives_kept"]["ctr"].numpy(), expected)

    negatives = [float(share) for n, share in enumerate(SHARES[:20]) if n % 2 == 0]
    share = len(negatives) / sum(1 / kept for kept in negatives)
    assert found.splits["train"].tasks["ctr"].negatives_kept == pytest.approx(share, rel=1e-6)
    assert source.schema.task("ctr").negatives_kept == pytest.approx(share, rel=1e-6)
    assert found.splits["train"].tasks["cvr"].negatives_kept is None
    assert f"ctr: 20 rows, {share:.4g} of the negatives kept, label mean 0.5000" in describe(found)


def test_without_a_column_batches_are_what_they_were(tmp_path):
    write_feed(tmp_path, SHARES)
    source, found = opened(sampled_schema(tmp_path, "0.1"), tmp_path)
    assert "negatives_kept" not in next(iter(batches(source, "train", 50)))
    assert source.schema.task("ctr").negatives_kept == 0.1
    assert found.splits["train"].tasks["ctr"].negatives_kept is None


def test_a_negative_without_a_share_is_a_bad_row(tmp_path):
    bad = ["", "1", "0", "1", "1.5", "1", "nan", "1", "some"]
    write_feed(tmp_path, bad)
    _, found = opened(sampled_schema(tmp_path, '"share"'), tmp_path)
    assert found.unusable == {"bad_negatives_kept": 5}
    assert found.unusable_where == {"bad_negatives_kept": {"column share": 5}}


def test_shards_hold_the_same_shares(tmp_path):
    write_feed(tmp_path, ["0.3" if share == "x" else share for share in SHARES])
    made = sampled_schema(tmp_path, '"share"', glob="a.csv")
    assert run(tmp_path / "a.csv", tmp_path / "out", f"--schema={made.path}") == 0
    assert quarantine_of(tmp_path / "out") == []
    assert_same_rows(made, tmp_path, tmp_path / "out")
