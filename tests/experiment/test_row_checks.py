"""Rows and rules that the tasks do not allow are refused before the logs are read."""

import pytest

from lt4rec_tf.config.parse import parse
from lt4rec_tf.core.errors import InputError
from lt4rec_tf.experiment.row_checks import check_rows
from tests.support.feeds import funnel_schema


def check(made, *flags):
    check_rows(parse(["train", "--schema=s.toml", "--data_dir=logs", *flags], "")[0], made)


@pytest.mark.parametrize(
    ("tasks", "flags", "message"),
    [
        ([], ["--rows=esmm"], "ESMM learns task refund through the probability of conv"),
        (["ctr"], ["--gradient_conflict"], "expected a binary task and a continuous one"),
        (["ctr", "cvr"], ["--gradient_conflict", "--rows=esmm"], "--rows: found .'esmm'."),
        (["ctr"], ["--balance=pcgrad"], "--tasks: found .'ctr',., expected two or more"),
    ],
)
def test_what_the_tasks_do_not_allow_is_named(tmp_path, tasks, flags, message):
    made = funnel_schema(tmp_path)
    with pytest.raises(InputError, match=message):
        check(made.with_tasks(tasks) if tasks else made, *flags)


def test_what_they_allow_passes(tmp_path):
    made = funnel_schema(tmp_path)
    check(made, "--rows=base,hard_sharing,aitm,mmoe", "--balance=pcgrad", "--gradient_conflict")
    check(made.with_tasks(["ctr", "cvr", "conv"]), "--rows=esmm")
    check(made.with_tasks(["ctr"]), "--rows=base", "--balance=pcgrad", "--gradient_conflict")
