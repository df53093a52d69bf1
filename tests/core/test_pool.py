"""Jobs in real processes: one that fails or dies is noted, the others go on."""

import os
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from lt4rec_tf.core.artifacts import write_atomically
from lt4rec_tf.core.command import prepare_tensorflow
from lt4rec_tf.core.errors import UnwritableError
from lt4rec_tf.core.processes import Failure, Job, JobPool, without_main_module
from tests.support.paths import PROJECT
from tests.support.refusals import ROOM, refusing
from tests.support.turns import until

# What jobs do. A process of its own imports these by name.


def leave(path, text):
    print("begun", text)
    Path(path).write_text(f"{text} {os.getpid()}")


def fail(path):
    print("begun, then out of ideas")
    print("a warning", file=sys.stderr)
    raise ValueError(f"{path}: found nothing,\nexpected something")


def write_past_python(path):
    os.write(1, b"from below\n")
    os.write(2, b"and its error\n")


def exit_at_once(path):
    print("begun, then gone", flush=True)
    os._exit(3)


def kill_itself(path):
    os.kill(os.getpid(), signal.SIGKILL)


def leave_slowly(path, text):
    time.sleep(0.5)
    leave(path, text)


def import_threads(path):
    import tensorflow as tf

    threads = tf.config.threading
    found = (threads.get_intra_op_parallelism_threads(), threads.get_inter_op_parallelism_threads())
    Path(path).write_text(f"{found}")


def write_too_much(path):
    with refusing(Path(path).parent, "limit"):
        write_atomically(Path(path), b"x" * 2 * ROOM)


def say_too_much(path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, before[1]))
    print("x" * 2 * ROOM)


def lift_limit(path):
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def job(folder, name, work=leave, *more, passes=1):
    arguments = more or ((name,) if work in (leave, leave_slowly) else ())
    return Job(name, work, (str(folder / name.replace("/", "_")), *arguments), passes)


@pytest.fixture(scope="module")
def open_pool(tmp_path_factory):
    """(pool, logs, what it said); its processes take seconds to begin, so tests share them."""
    logs, said = tmp_path_factory.mktemp("logs"), []
    pool = JobPool(1, partial(prepare_tensorflow, 2), logs, said.append)
    yield pool, logs, said
    pool.close()


@pytest.fixture
def pool(open_pool):
    open_pool[2].clear()
    return open_pool


def test_jobs_run_and_are_counted(pool, tmp_path):
    pool, logs, said = pool
    names = ["a", "b/c", "d"]
    assert pool.run("rows:", [job(tmp_path, name) for name in names]) == {}
    assert [(tmp_path / name).read_text().split()[0] for name in ("a", "b_c", "d")] == names
    # With one process, in the order in which they were given.
    begins = [line.split(" | ")[:2] for line in said]
    assert begins == [[f"rows: {i}/3", f"{name} done"] for i, name in enumerate(names, start=1)]
    assert [line.endswith("left") for line in said] == [True, True, False]
    assert (logs / "b.c.log").read_text() == "begun b/c\n"


def test_no_job_is_no_work(pool):
    pool, _, said = pool
    assert pool.run("nothing", []) == {}
    assert said == []


def test_processes_serve_one_stage_after_another(pool, tmp_path):
    pool, _, _ = pool
    pids = set()
    for name in ("first", "second"):
        pool.run(name, [job(tmp_path, name)])
        pids.add((tmp_path / name).read_text().split()[1])
    assert len(pids) == 1
    assert str(os.getpid()) not in pids


def test_a_job_that_fails_is_noted_and_the_others_go_on(pool, tmp_path):
    pool, logs, said = pool
    jobs = [job(tmp_path, "before"), job(tmp_path, "bad", fail), job(tmp_path, "after")]
    failures = pool.run("rows:", jobs)
    path = tmp_path / "bad"
    assert failures == {"bad": Failure(f"ValueError: {path}: found nothing,", logs / "bad.log")}
    assert (tmp_path / "before").exists()
    assert (tmp_path / "after").exists()
    assert f"bad FAILED: ValueError: {path}: found nothing, (log: {logs}/bad.log)" in said[1]


@pytest.mark.parametrize("work", [write_too_much, say_too_much])
def test_a_job_without_room_ends_all_and_the_next_run_goes_on(pool, tmp_path, work):
    pool, logs, _ = pool
    refused = tmp_path / "big" if work == write_too_much else logs / "big.log"
    with pytest.raises(UnwritableError, match=rf"^{refused}: cannot be written: it is larger"):
        pool.run("rows:", [job(tmp_path, "big", work)])
    assert not (tmp_path / "big").exists()
    assert pool.run("rows:", [job(tmp_path, "lift", lift_limit), job(tmp_path, "small")]) == {}
    assert (logs / "small.log").read_text().endswith("begun small\n")
    assert (tmp_path / "small").exists()


def test_a_log_holds_all_output_and_the_stack_trace(pool, tmp_path):
    pool, logs, _ = pool
    pool.run("rows:", [job(tmp_path, "traced", fail), job(tmp_path, "below", write_past_python)])
    log = (logs / "traced.log").read_text()
    assert "begun, then out of ideas" in log
    assert "a warning" in log
    assert "Traceback" in log
    assert "in fail" in log
    assert log.endswith("expected something\n")
    assert (logs / "below.log").read_text() == "from below\nand its error\n"


def test_a_log_goes_on_where_an_earlier_process_stopped(pool, tmp_path):
    pool, logs, _ = pool
    for _ in range(2):
        pool.run("rows:", [job(tmp_path, "again")])
    assert (logs / "again.log").read_text() == "begun again\n" * 2


def test_processes_have_their_own_few_threads(pool, tmp_path):
    pool, _, _ = pool
    assert pool.run("rows:", [job(tmp_path, "threads", import_threads)]) == {}
    assert (tmp_path / "threads").read_text() == "(2, 2)"


def test_time_left_counts_passes(pool, tmp_path, monkeypatch):
    pool, _, said = pool
    clock = SimpleNamespace(monotonic=iter([0.0, 30.0, 40.0]).__next__)
    monkeypatch.setattr("lt4rec_tf.core.processes.time", clock)
    pool.run("rows:", [job(tmp_path, "long", passes=3), job(tmp_path, "short")])
    assert "about 10 s left" in said[0]  # 3 of 4 passes took 30 s


def test_jobs_whose_processes_die_are_noted_and_the_others_go_on(tmp_path):
    said = []
    pool = JobPool(2, nothing, tmp_path / "logs", said.append)
    deaths = {"exits": exit_at_once, "killed": kill_itself}
    try:
        jobs = [job(tmp_path, name, death) for name, death in deaths.items()]
        failures = pool.run("rows:", [jobs[0], job(tmp_path, "beside", leave_slowly), jobs[1]])
        error = "its process ended: killed, or out of memory"
        assert failures == {
            name: Failure(error, tmp_path / "logs" / f"{name}.log") for name in deaths
        }
        assert (tmp_path / "beside").exists()
        assert [line.split()[1] for line in said] == ["1/3", "2/3", "3/3"]
        assert [line.split()[3] for line in said if "FAILED" in line] == ["exits", "killed"]
        assert "begun, then gone" in (tmp_path / "logs" / "exits.log").read_text()
        # The pool lives on.
        assert pool.run("next:", [job(tmp_path, "next")]) == {}
    finally:
        pool.close()


PARENT = """
import sys
from functools import partial
from pathlib import Path
from lt4rec_tf.core.processes import Job, JobPool
from tests.core.test_pool import import_tensorflow, leave_and_wait, nothing
if __name__ == "__main__":
    pid = sys.argv[1] + "/pid"
    prepare, work = {
        "work": (nothing, partial(leave_and_wait, pid)),
        "prepare": (partial(leave_and_wait, pid), nothing),
        "import": (partial(import_tensorflow, pid), partial(leave_and_wait, pid)),
    }[sys.argv[2]]
    pool = JobPool(1, prepare, Path(sys.argv[1]) / "logs", print)
    pool.run("jobs", [Job("waits", work, ())])
"""


def nothing():
    pass


def leave_and_wait(path, seconds=600):
    Path(path).write_text(str(os.getpid()))
    time.sleep(seconds)


def is_alive(pid):
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def import_tensorflow(path):
    Path(path).write_text(str(os.getpid()))
    import tensorflow  # noqa: F401


def _killed_once_begun(script, *arguments, pid):
    """Kills a parent as soon as its child has left its number; returns the child's number."""
    parent = subprocess.Popen(
        [sys.executable, str(script), *map(str, arguments)],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stderr=subprocess.DEVNULL,
    )
    until(lambda: pid.exists() and pid.read_text())
    child = int(pid.read_text())
    assert is_alive(child)
    parent.kill()
    parent.wait()
    return child


@pytest.mark.parametrize("killed_in", ["work", "prepare", "import"])
def test_jobs_end_with_the_process_that_wants_them(tmp_path, killed_in):
    script, pid = tmp_path / "parent.py", tmp_path / "pid"
    script.write_text(PARENT)
    child = _killed_once_begun(script, tmp_path, killed_in, pid=pid)
    until(lambda: not is_alive(child), seconds=1)


MAIN = """
import os, sys, time
from pathlib import Path
from lt4rec_tf.core.processes import Job, JobPool, end_with_parent
from tests.core.test_pool import nothing
if __name__ == "__mp_main__":
    end_with_parent()
    Path(sys.argv[1], "pid").write_text(str(os.getpid()))
    time.sleep(30)
if __name__ == "__main__":
    pool = JobPool(1, nothing, Path(sys.argv[1]) / "logs", print)
    pool.run("jobs", [Job("waits", nothing, ())])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process during imports")
def test_a_process_that_still_imports_its_main_module_ends_with_its_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(MAIN)
    child = _killed_once_begun(script, tmp_path, pid=tmp_path / "pid")
    until(lambda: not is_alive(child), seconds=1)


ORPHAN = """
import os, sys, time
from lt4rec_tf.core import processes
os.environ[processes._PARENT] = sys.argv[1]
processes.end_with_parent()
print("lives on")
"""


@pytest.mark.parametrize(("parent", "lives"), [("mine", True), ("gone", False)])
def test_a_process_whose_parent_ended_before_it_watched_ends_at_once(parent, lives):
    number = {"mine": os.getpid(), "gone": 2**22 + 1}[parent]  # above the numbers of processes
    ended = subprocess.run(
        [sys.executable, "-c", ORPHAN, str(number)],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        check=False,
    )
    assert (ended.stdout, ended.returncode) == (("lives on\n", 0) if lives else ("", 1))


def test_a_script_without_a_guard_is_not_run_again_by_its_pool(tmp_path):
    """As one that trains with `lt4rec_tf.train` and several search processes."""
    script = tmp_path / "script.py"
    script.write_text(
        "from multiprocessing import get_context\n"
        "from lt4rec_tf.core.processes import without_main_module\n"
        "print('begun', flush=True)\n"
        "with without_main_module(), get_context('spawn').Pool(1) as pool:\n"
        "    print(pool.apply(abs, (-7,)))\n"
    )
    command = [sys.executable, str(script)]
    made = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, timeout=60)
    assert made.stdout == "begun\n7\n", made.stderr


def test_the_main_module_is_hidden_and_comes_back():
    main_module = sys.modules["__main__"]
    with without_main_module():
        assert not hasattr(sys.modules["__main__"], "__file__")
    assert sys.modules["__main__"] is main_module
