"""Ticket searches in parallel processes; commands/test_end_to_end.py has their numbers."""

import pytest

from lt4rec_tf.core import artifacts
from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.experiment.parallel_searches import search_in_parallel
from lt4rec_tf.tickets.search import level_folder
from lt4rec_tf.training.stage import TrainingError
from tests.support.training import begin_run, small_settings

pytestmark = pytest.mark.slow(minutes=1)
FLAGS = ("--models=s_weight", "--rounds=2")


def test_a_search_that_fails_is_named_with_its_log(small_schema, tmp_path):
    run, _ = begin_run(small_settings(*FLAGS, "--search_processes=2"), small_schema, tmp_path)
    with pytest.raises(
        TrainingError, match=r"ticket search of c.r: .*small\.toml.*\(log: "
    ) as told:
        search_in_parallel(run)  # its processes find no schema
    task = str(told.value).split()[3].removesuffix(":")
    assert "Traceback" in (tmp_path / "logs" / f"{task}.log").read_text()


@pytest.mark.parametrize("finished", [(), ("ctr",), ("ctr", "cvr")])
def test_one_search_needs_no_process_of_its_own(small_schema, tmp_path, finished):
    processes = 2 if finished else 1
    settings = small_settings(*FLAGS, f"--search_processes={processes}")
    run, _ = begin_run(settings, small_schema, tmp_path)
    for task in finished:
        artifacts.mark_done(level_folder(tmp_path / "tickets" / task, 2))
    search_in_parallel(run)
    assert not (tmp_path / "logs").exists()


def test_there_is_one_process_at_least():
    with pytest.raises(ConfigError, match="--search_processes: found 0"):
        small_settings("--search_processes=0")
