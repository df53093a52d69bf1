"""Side tables of converted logs: their copies lie in the output folder, wherever they lie."""

import pytest

from lt4rec_tf.schema.reader import load_schema
from tests.support.conversions import run

SCHEMA = """
name = "small"
format = "csv"
files = ["*.csv"]
user = "user"

[[joins]]
file = "{file}"
format = "csv"
key = "video"

[[features]]
name = "topic"
dtype = "string"
side = "item"
ids = {{ kind = "hash", buckets = 10 }}

[[labels]]
name = "click"
kind = "binary"
column = "click"

[[tasks]]
name = "ctr"
label = "click"
kind = "binary"
loss = "cross_entropy"
metric = "auc"
"""
TABLE = "video,topic\nv1,t1\n"


@pytest.mark.parametrize(
    ("file", "copied"),
    [
        ("tables/items.csv", "tables/items.csv"),
        ("../items.csv", "side_tables/1/items.csv"),
        ("tables/../../items.csv", "side_tables/1/items.csv"),
        ("{root}/items.csv", "side_tables/1/items.csv"),
        ("manifest.json", "side_tables/1/manifest.json"),
    ],
)
def test_a_side_table_is_copied_into_the_output_folder_alone(tmp_path, file, copied):
    logs = tmp_path / "logs"
    (logs / "tables").mkdir(parents=True)
    (logs / "log.csv").write_text("user,video,click\nu1,v1,1\n")
    file = file.format(root=tmp_path)
    original = logs / file
    original.write_text(TABLE)
    made_at = original.stat().st_ino
    path = tmp_path / "schema.toml"
    path.write_text(SCHEMA.format(file=file))

    output = tmp_path / "deep" / "out"
    assert run(logs / "log.csv", output, f"--schema={path}") == 0
    assert (output / copied).read_text() == TABLE
    assert load_schema(output / "schema.toml").joins[0].file == copied
    assert original.stat().st_ino == made_at
    assert not [
        place
        for place in tmp_path.rglob("items.csv")
        if place not in (original.resolve(), output / copied)
    ]
