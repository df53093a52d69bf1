"""The time of rows among columns of dates and numbers, and what is proposed without one."""

import shlex

import pytest

from lt4rec_tf.data.inspect import command as inspect
from lt4rec_tf.experiment import run_folder
from lt4rec_tf.schema.reader import load_schema
from tests.support.commands import run_training

ROWS = 300
SMALL = [
    "--epochs=1",
    "--rows=hard_sharing",
    "--embedding_dim=2",
    "--hidden_units=4",
    "--batch_size=32",
    "--reading=memory",
]


def look(folder, capsys, columns, *flags):
    """Looks at rows of a click, an item and these columns; returns the schema and what is said."""
    names = ",".join(["item_id", "is_click", *columns])
    lines = []
    for k in range(ROWS):
        values = [column(k) for column in columns.values()]
        lines.append(",".join([f"i{k * k % 37}", str(int(k * k % 37 % 3 == 0)), *values]))
    (folder / "logs").mkdir(exist_ok=True)
    (folder / "logs" / "a.csv").write_text("\n".join([names, *lines]) + "\n")
    schema_out = folder / "s.toml"
    files = f"--files={folder}/logs/*.csv"
    code = inspect.main(["inspect", files, f"--schema_out={schema_out}", "--overwrite", *flags])
    said = capsys.readouterr()
    assert code == 0, said.err
    return load_schema(schema_out), said.out


def day_of(k):
    return f"2026-11-{1 + k // 30:02d}"


def clock_of(k):
    return f"{day_of(k)} {k % 24:02d}:{k % 60:02d}:00"


@pytest.mark.parametrize("name", ["event_time", "ts", "timestamp", "dt", "Log_Time"])
def test_dates_by_a_usual_name_are_the_time(tmp_path, capsys, name):
    made, said = look(tmp_path, capsys, {name: clock_of, "upload_dt": day_of})
    assert made.time.column == name
    assert f"time        {name}, 2026-11-01 to 2026-11-10 " in said
    assert f"no feature: {name} (a time, which does not come again)" in said


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"dt": day_of, "created_at": clock_of}, "dt"),
        ({"seen_when": clock_of}, "seen_when"),  # no usual name, but nothing else can be the time
        ({"seen_when": day_of}, None),
        ({"publish_when": clock_of}, None),
        ({"user_when": clock_of}, None),
        ({"seen_when": clock_of, "shown_when": clock_of}, None),
        ({"ts": lambda k: clock_of(k) if k % 50 else "?"}, None),  # 2 % are no times
        ({"ts": lambda k: clock_of(k) if k % 150 else "?"}, "ts"),
        ({"ts": lambda k: "2026-11-01"}, None),  # of one time no split can be made
    ],
)
def test_which_column_is_the_time(tmp_path, capsys, columns, found):
    made, said = look(tmp_path, capsys, columns)
    assert (made.time and made.time.column) == found
    assert ("--split=random" in said) == (found is None)


def test_a_flag_names_dates(tmp_path, capsys):
    made, said = look(tmp_path, capsys, {"when": day_of}, "--time=when")
    assert made.time.column == "when"
    assert "time        when, 2026-11-01 to 2026-11-10\n" in said
    files = f"--files={tmp_path}/logs/*.csv"
    assert inspect.main(["inspect", files, "--time=item_id"]) == 2
    expected = "--time: found 'item_id', expected a column of 3 different numbers or dates or more"
    assert expected in capsys.readouterr().err


def test_a_far_time_is_not_shown_as_the_last(tmp_path, capsys):
    _, said = look(tmp_path, capsys, {"day": lambda k: "99991231" if k == 7 else day_of(k)})
    assert "time        day, 2026-11-01 to 2026-11-10\n" in said
    numbers = {"day": lambda k: "99991231" if k == 7 else day_of(k).replace("-", "")}
    _, said = look(tmp_path, capsys, numbers)
    assert "time        day, 20261101 (2026-11-01) to 20261110 (2026-11-10)\n" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("columns", "more", "expected"),
    [
        (
            {"event_time": clock_of},
            ["--validation_from=2026-11-09", "--test_from=2026-11-10T06:00:00+00:00"],
            "from 1794182400000 (2026-11-09), test from 1794290400000 (2026-11-10 06:00)",
        ),
        ({"price": lambda k: str(7 * k % ROWS)}, ["--test_fraction=0.3"], "\ntest "),
    ],
)
def test_the_command_that_is_proposed_trains(tmp_path, capsys, columns, more, expected):
    _, said = look(tmp_path, capsys, columns)
    command = next(line for line in said.splitlines() if "lt4rec_tf.train" in line)
    flags = [*shlex.split(command)[3:], *SMALL, *more, f"--run_dir={tmp_path}/run"]
    run_training(*flags)
    assert expected in capsys.readouterr().out
    settings, _ = run_folder.read_run(tmp_path / "run")
    assert settings.data.split == ("time" if "event_time" in columns else "random")
