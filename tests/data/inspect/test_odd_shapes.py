"""Logs as strangers have them: a draft that loses no id, or one line that names what is wrong."""

import json

import pytest

from lt4rec_tf.data.inspect import command as inspect
from lt4rec_tf.schema.reader import load_schema

ROWS = [{"user_id": n % 7, "item_id": 50 + n % 9, "click": n % 2, "ts": n} for n in range(60)]


def csv(header="user_id,item_id,click,ts", **columns):
    """A CSV file of the rows, some columns by a function of the row's number."""
    lines = [header]
    for number, row in enumerate(ROWS):
        changed = {name: change(number) for name, change in columns.items()}
        lines.append(",".join(str(value) for value in (row | changed).values()))
    return "\n".join(lines) + "\n"


def inspected(folder, capsys, text, name="a.csv"):
    (folder / name).write_text(text)
    flags = [f"--files={folder}/{name}", f"--schema_out={folder}/s.toml"]
    code = inspect.main(["inspect", *flags])
    return code, capsys.readouterr()


@pytest.mark.parametrize(
    ("text", "features"),
    [
        (csv(), ["user_id", "item_id"]),
        (csv("user_id, item_id, click, ts"), ["user_id", " item_id"]),
        (csv("user_id,item_id,click,ts,", end=lambda n: ""), ["user_id", "item_id"]),
        (csv("user_id,item_id,click,ts,Unnamed: 4", end=str), ["user_id", "item_id"]),
        (csv("user_id,item_id,click,ts,", end=str), ["user_id", "item_id"]),
    ],
    ids=["plain", "spaces in the header", "comma at the end", "by pandas", "index"],
)
def test_headers(tmp_path, capsys, text, features):
    code, out = inspected(tmp_path, capsys, text)
    made = load_schema(tmp_path / "s.toml")
    assert code == 0, out.err
    assert [feature.column for feature in made.features] == features
    assert {feature.dtype for feature in made.features} == {"int64"}
    assert (made.user, made.labels[0].column.strip()) == ("user_id", "click")
    assert made.time.column.strip() == "ts"


def test_ids_that_look_like_exponents_stay_texts(tmp_path, capsys):
    text = csv(item_id=lambda n: ("1e5", "100000", "1E5", "12")[n % 4])
    assert inspected(tmp_path, capsys, text)[0] == 0
    item = load_schema(tmp_path / "s.toml").feature("item_id")
    assert (item.dtype, item.ids.kind) == ("string", "fitted")


def test_ids_that_floats_have_lost_are_named(tmp_path, capsys):
    text = csv(user_id=lambda n: repr(float(2**60 + 1000 * n)), item_id=lambda n: 2**60 + n)
    code, out = inspected(tmp_path, capsys, text)
    assert code == 0
    assert "stand as floats in user_id: they no longer tell neighbours apart" in out.out


def test_a_json_list_is_named(tmp_path, capsys):
    text = json.dumps(ROWS, indent=None).replace("[{", "[\n{").replace("}, ", "},\n")
    text = text.replace("}]", "}\n]")
    code, out = inspected(tmp_path, capsys, text, "a.jsonl")
    assert (code, out.err.count("\n")) == (2, 1)
    assert "a.jsonl: found a JSON list, expected JSON Lines: an object a line" in out.err
