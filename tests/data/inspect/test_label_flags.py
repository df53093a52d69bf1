"""Labels that flags name, what the draft says of tasks and of 0/1 columns, and its exit code."""

import numpy as np
import pytest

from lt4rec_tf.data.inspect import command as inspect
from lt4rec_tf.schema.reader import load_schema
from tests.support.feeds import opened

HEADER = "user_id,time,click,like,follow,buy,finished,is_vip,odd name"


@pytest.fixture
def logs(tmp_path):
    """Rows of which each column's mean is known; likes and follows among clicks."""
    lines = [HEADER]
    for n in range(400):
        click, like = n % 2, n % 4 == 1
        others = [n % 8 == 1, n % 16 == 1, n % 5 / 4, n % 10 == 0, n % 4 == 0]
        values = [f"u{n % 21}", n, click, like, *others]
        lines.append(",".join(str(int(v) if isinstance(v, bool) else v) for v in values))
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def look(folder, *flags):
    argv = [f"--files={folder}/a.csv", f"--schema_out={folder}/s.toml", "--overwrite", *flags]
    return inspect.main(["inspect", *argv])


def tasks_of(folder):
    schema = load_schema(folder / "s.toml")
    return {task.name: (task.label, task.kind, task.population) for task in schema.tasks}


def test_flags_make_labels_with_tasks_of_their_own(logs, capsys):
    flags = ["--binary_labels=like,follow:like,odd name:all", "--ratio_labels=finished:follow"]
    assert look(logs, *flags) == 0
    assert tasks_of(logs) == {
        "ctr": ("click", "binary", None),
        "conversion": ("conversion", "binary", "click"),
        "like": ("like", "binary", "click"),
        "follow": ("follow", "binary", "like"),
        "odd_name": ("odd_name", "binary", None),
        "finished": ("finished", "continuous", "follow"),
    }
    schema = load_schema(logs / "s.toml")
    assert schema.label("odd_name").column == "odd name"
    assert schema.label("finished").kind == "ratio"
    assert [feature.name for feature in schema.features] == ["user_id", "is_vip"]
    out = capsys.readouterr().out
    assert "no feature: finished (what is learned)" in out
    assert "tasks: ctr (click), conversion (conversion where click is 1), like (like where" in out
    assert "follow (follow where like is 1)" in out

    _, audit = opened(schema, logs)  # the labels are those of the log, on their populations
    rows = {name: sum(audit.splits[split].tasks[name].rows for split in audit.splits)
            for name in tasks_of(logs)}  # fmt: skip
    assert rows == {
        "ctr": 400, "conversion": 200, "like": 200, "follow": 100, "odd_name": 400, "finished": 50
    }  # fmt: skip


def test_a_click_by_name_is_one_label_even_if_a_flag_names_it(logs):
    assert look(logs, "--binary_labels=click,like") == 0
    assert list(tasks_of(logs)) == ["ctr", "conversion", "like"]


def test_a_population_of_its_own_takes_a_column_from_its_usual_role(logs):
    assert look(logs, "--binary_labels=buy:all") == 0
    assert tasks_of(logs) == {
        "ctr": ("click", "binary", None),
        "buy": ("buy", "binary", None),
    }


def test_without_a_click_labels_are_learned_on_all_rows(logs):
    assert look(logs, "--click=none", "--conversion=none", "--binary_labels=like") == 0
    assert tasks_of(logs) == {"like": ("like", "binary", None)}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--binary_labels=lik"], "--binary_labels: found 'lik', expected one of user_id, time"),
        (["--binary_labels=finished"], "found 'finished', expected a column of 0 and 1"),
        (["--ratio_labels=user_id"], "found 'user_id', expected a column of numbers of 0 or more"),
        (["--binary_labels=like:finished"], "found like:finished, expected a population among all"),
        (["--binary_labels=like,like"], "found 'like' twice, expected it once"),
        (["--binary_labels=like", "--click=like:all"], "--click: found 'like:all'"),
        (["--conversion=like", "--binary_labels=like"], "found 'like', which --conversion names"),
        (
            ["--binary_labels=like:follow,follow:like"],
            "found like within follow within like, expected populations that end with all rows",
        ),
    ],
)
def test_flags_that_cannot_be_are_refused(logs, capsys, flags, message):
    assert look(logs, *flags) == 2
    assert message in capsys.readouterr().err
    assert not (logs / "s.toml").exists()


def test_columns_of_0_and_1_never_become_features_silently(logs, capsys):
    assert look(logs) == 0
    out = capsys.readouterr().out
    assert "no task on like, follow: see --binary_labels=like,follow" in out
    assert "warning: columns of 0 and 1 became features: odd name. What" in out  # is_vip is hers
    assert "--binary_labels=odd name;" in out
    text = (logs / "s.toml").read_text()
    assert text.count("0/1 column: a label or a feature?") == 1

    assert look(logs, "--features=odd name") == 0
    assert "warning" not in capsys.readouterr().out
    assert "label or a feature?" not in (logs / "s.toml").read_text()
    assert load_schema(logs / "s.toml").feature("is_vip").ids.kind == "integer"


def test_tasks_that_could_not_be_made_are_named_with_the_reason(logs, capsys):
    assert look(logs, "--conversion=none") == 0
    out = capsys.readouterr().out
    assert "no task cvr: no play_time and duration, see --play_time and --watch_ratio" in out
    assert "no task conversion: no order after a click, see --conversion" in out


def test_a_play_time_without_a_duration_is_learned_in_seconds_and_said(logs, capsys):
    assert look(logs, "--play_time=finished") == 0
    out = capsys.readouterr().out
    assert "task cvr learns seconds, not a ratio: no duration, see --duration" in out
    assert load_schema(logs / "s.toml").label("watch_time").kind == "amount"


def test_without_a_label_the_exit_code_is_2_with_and_without_a_draft(logs, capsys):
    none = ["--click=none", "--conversion=none"]
    assert look(logs, *none) == 2
    assert f"at the end of {logs}/s.toml" in capsys.readouterr().err
    assert (logs / "s.toml").exists()
    assert inspect.main(["inspect", f"--files={logs}/a.csv", *none]) == 2
    out, err = capsys.readouterr()
    assert "no task ctr: no click, see --click" in out
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1


def test_features_that_tell_a_click_alone_are_named(tmp_path, capsys):
    clicks = (np.random.default_rng(0).random(600) < 0.3).astype(int)
    lines = ["user_id,time,click,age,order_amt,paid,where"]
    for n, click in enumerate(clicks):
        # An amount after the click, each another; an empty text without one.
        paid, where = (n + 0.5, "page") if click else (0, "")
        lines.append(f"u{n % 9},{n},{click},{n % 30 + 0.5},{click * 7},{paid},{where}")
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    assert look(tmp_path) == 0
    out = capsys.readouterr().out
    told = [line.split()[2] for line in out.splitlines() if "alone tells click, AUC" in line]
    assert told == ["order_amt", "paid", "where"]
    assert "--exclude=paid leaves it out" in out
    assert look(tmp_path, "--exclude=order_amt,paid,where") == 0
    assert "alone tells" not in capsys.readouterr().out
