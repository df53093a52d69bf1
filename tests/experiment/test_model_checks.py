"""Models by the tasks: what these do not allow is refused, and one task has no network twice."""

import dataclasses

import pytest

from lt4rec_tf.config.parse import fingerprint, gives_models, parse
from lt4rec_tf.core.errors import InputError
from lt4rec_tf.experiment.model_checks import check_models, distinct_models
from lt4rec_tf.experiment.run_folder import claim_folder, read_run
from tests.support.feeds import funnel_schema


def check(made, *flags):
    check_models(parse(["train", "--schema=s.toml", "--data_dir=logs", *flags], "")[0], made)


@pytest.mark.parametrize(
    ("tasks", "flags", "message"),
    [
        ([], ["--models=esmm"], "ESMM learns task refund through the probability of conv"),
        ([], ["--models=escm2_dr"], "ESCM2 learns task refund through the probability of conv"),
        ([], ["--models=base,dcmt"], "DCMT learns task refund through the probability of conv"),
        (["ctr"], ["--gradient_conflict"], "expected a binary task and a continuous one"),
        (["ctr", "cvr"], ["--gradient_conflict", "--models=esmm"], "--models: found .'esmm'."),
        (["ctr", "cvr"], ["--gradient_conflict", "--models=dcmt"], "--models: found .'dcmt'."),
        (["ctr"], ["--balance=pcgrad"], "--tasks: found .'ctr',., expected two or more"),
    ],
)
def test_what_the_tasks_do_not_allow_is_named(tmp_path, tasks, flags, message):
    made = funnel_schema(tmp_path)
    with pytest.raises(InputError, match=message):
        check(made.with_tasks(tasks) if tasks else made, *flags)


def test_smoothed_labels_need_cross_entropy_of_labels_as_they_came(tmp_path):
    made = funnel_schema(tmp_path)
    check(made, "--label_smoothing=.1")
    cvr = made.with_tasks(["cvr"])
    with pytest.raises(
        InputError, match=r"label_smoothing: found 0\.1, expected 0 without a binary"
    ):
        check(cvr, "--label_smoothing=.1", "--models=base")
    for change in ({"negatives_kept": 0.5}, {"kept_column": "kept"}):
        ctr = dataclasses.replace(made.task("ctr"), **change)
        sampled = dataclasses.replace(made, tasks=(ctr,))
        with pytest.raises(InputError, match=r"expected 0, as negatives_kept .* of task ctr"):
            check(sampled, "--label_smoothing=.1", "--models=base")
        check(sampled, "--models=base")


def test_what_they_allow_passes(tmp_path):
    made = funnel_schema(tmp_path)
    check(made, "--models=base,hard_sharing,aitm,mmoe", "--balance=pcgrad", "--gradient_conflict")
    check(made.with_tasks(["ctr", "cvr", "conv"]), "--models=esmm")
    check(made.with_tasks(["ctr"]), "--models=base", "--balance=pcgrad", "--gradient_conflict")


NEEDED = ["train", "--schema=s.toml", "--data_dir=logs"]
ALL = ("base", "hard_sharing", "s_weight", "s_gates")


def test_one_task_has_no_model_twice(tmp_path):
    made = funnel_schema(tmp_path)
    settings, _ = parse(NEEDED, "")
    assert settings.models == ALL
    assert distinct_models(settings, made, tmp_path / "run") == settings
    one = distinct_models(settings, made.with_tasks(["ctr"]), tmp_path / "run")
    assert one == dataclasses.replace(settings, models=("base", "s_weight", "s_gates"))
    named, _ = parse([*NEEDED, "--models=base,s_weight,s_gates"], "")
    assert fingerprint(one, "") == fingerprint(named, "")
    workers, _ = parse([*NEEDED, "--distribution=mirrored"], "")
    assert distinct_models(workers, made.with_tasks(["ctr"]), tmp_path).models == (
        "base",
        "s_weight",
    )


def test_a_run_that_was_begun_with_all_models_keeps_them(tmp_path):
    made = funnel_schema(tmp_path)
    path, text = made.path, made.path.read_text()
    settings, _ = parse(["train", f"--schema={path}", "--data_dir=logs", "--tasks=ctr"], "")
    one_task = made.with_tasks(["ctr"])
    (tmp_path / "run").mkdir()
    claim_folder(tmp_path / "run", settings, {}, text)
    assert read_run(tmp_path / "run")[0].models == ALL
    assert distinct_models(settings, one_task, tmp_path / "run") == settings

    # A run that was begun without them goes on without them.
    (tmp_path / "other").mkdir()
    distinct = distinct_models(settings, one_task, tmp_path / "other")
    claim_folder(tmp_path / "other", distinct, {}, text)
    again = distinct_models(settings, one_task, tmp_path / "other")
    claim_folder(tmp_path / "other", again, {}, text)
    assert again == distinct


def test_models_that_somebody_named_are_told_from_default_ones(tmp_path):
    flagfile = tmp_path / "a.cfg"
    flagfile.write_text(f"--models={','.join(ALL)}\n")
    assert not gives_models(NEEDED)
    assert gives_models([*NEEDED, f"--models={','.join(ALL)}"])
    assert gives_models([*NEEDED, f"--flagfile={flagfile}"])
