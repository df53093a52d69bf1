"""The line of progress, on terminals and in files."""

import fcntl
import io
import os
import pty
import struct
import termios

import pytest

from lt4rec_tf.core.progress import Progress, duration


class Clock:
    """Seconds that move only when told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal:
    """A pseudo-terminal of a given width: what is written to `out` is seen by `read`."""

    def __init__(self, columns):
        self.reader, writer = pty.openpty()
        fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.out = os.fdopen(writer, "w", newline="")

    def read(self):
        # The kernel hands on in pieces what was written: read up to a mark, which goes past the
        # buffer of `out` so that text which was never flushed stays unseen.
        os.write(self.out.fileno(), b"\0")
        text = b""
        while not text.endswith(b"\0"):
            text += os.read(self.reader, 65536)
        # A terminal turns \n into \r\n on its way out.
        return text.decode().rstrip("\0").replace("\r\n", "\n")

    def close(self):
        self.out.close()
        os.close(self.reader)


@pytest.fixture
def terminal():
    opened = []

    def open_terminal(columns):
        opened.append(Terminal(columns))
        return opened[-1]

    yield open_terminal
    for each in opened:
        each.close()


class CountedLoss:
    """A loss that counts how often it is read, as reading a tensor waits for the device."""

    def __init__(self):
        self.reads = 0

    def __float__(self):
        self.reads += 1
        return 0.5


def run_steps(progress, clock, count, seconds=1.0, **losses):
    for _ in range(count):
        clock.now += seconds
        progress.step(losses or {"cvr": 0.0712})


def make(total_steps, batch_size=100, interval=1.0, **named):
    clock, out = Clock(), io.StringIO()
    return Progress(total_steps, batch_size, out, interval, clock, **named), clock, out


def last_line(out):
    return out.getvalue().splitlines()[-1]


def test_a_line_says_stage_epoch_step_speed_loss_and_time_left():
    progress, clock, out = make(220, batch_size=45_120)
    progress.start_stage("tickets/cvr level 2/4", epochs=2, steps_per_epoch=230)
    run_steps(progress, clock, 120)
    assert last_line(out) == (
        "tickets/cvr level 2/4 | epoch 1/2 | step 120/230 | 45,120 examples/s"
        " | loss cvr 0.0712 | 1 min 40 s left"
    )


def test_lines_keep_their_distance():
    progress, clock, out = make(100, interval=5.0)
    progress.start_stage("base_ctr", 1, 100)
    run_steps(progress, clock, 21)
    steps = [line.split(" | ")[2] for line in out.getvalue().splitlines()]
    assert steps == ["step 5/100", "step 10/100", "step 15/100", "step 20/100"]


def test_losses_are_read_only_when_a_line_is_due():
    progress, clock, _ = make(100, interval=10.0)
    progress.start_stage("base_ctr", 1, 100)
    loss = CountedLoss()
    run_steps(progress, clock, 9, ctr=loss)
    assert loss.reads == 0
    run_steps(progress, clock, 1, ctr=loss)
    assert loss.reads == 1


def test_alternating_tasks_are_shown_together():
    progress, clock, out = make(100)
    progress.start_stage("s_weight", 1, 100)
    run_steps(progress, clock, 1, ctr=0.6)
    run_steps(progress, clock, 1, cvr=0.07)
    assert "| loss ctr 0.6000, cvr 0.0700 |" in last_line(out)
    progress.start_stage("base_cvr", 1, 100)
    run_steps(progress, clock, 1, cvr=0.08)
    assert "| loss cvr 0.0800 |" in last_line(out)


def test_time_left_counts_every_second_since_the_start():
    progress, clock, out = make(40)
    progress.start_stage("base_ctr", 1, 20)
    run_steps(progress, clock, 20, seconds=0.5)
    clock.now += 10.0  # validation
    progress.end_epoch({"ctr": 0.7})
    assert last_line(out).endswith("| 20 s left")  # 20 steps took 20 seconds, 20 are to come


def test_time_left_is_not_told_before_one_step_in_a_hundred():
    progress, clock, out = make(1000)
    progress.start_stage("base_ctr", 1, 1000)
    run_steps(progress, clock, 9)
    assert "left" not in out.getvalue()
    run_steps(progress, clock, 1)
    assert last_line(out).endswith("16 min 30 s left")


def test_the_time_left_is_the_most_while_passes_may_fall_away():
    progress, clock, out = make(40, may_end_early=True)
    progress.start_stage("base_ctr", 2, 10)
    run_steps(progress, clock, 1)
    assert last_line(out).endswith("| at most 39 s left")
    progress.end_epoch({})
    progress.skip(10)  # no better epoch came
    progress.start_stage("base_cvr", 2, 10)
    run_steps(progress, clock, 10)
    assert last_line(out).endswith("| at most 10 s left")
    progress.end_epoch({})
    run_steps(progress, clock, 1)
    assert last_line(out).endswith("| 9 s left")  # it is the last pass


def test_skipped_stages_are_neither_work_done_nor_to_come():
    progress, clock, out = make(1000)
    progress.skip(900)
    progress.start_stage("s_weight", 1, 100)
    run_steps(progress, clock, 50)
    assert "| step 50/100 |" in last_line(out)
    assert last_line(out).endswith("| 50 s left")


def test_skipping_inside_a_stage_moves_its_position():
    progress, clock, out = make(30)
    progress.start_stage("s_weight", 3, 10)
    progress.skip(14)
    run_steps(progress, clock, 1)
    assert "| epoch 2/3 | step 5/10 |" in last_line(out)
    assert last_line(out).endswith("| 15 s left")


def test_skipping_the_rest_of_a_stage_closes_it():
    progress, clock, out = make(40)
    progress.start_stage("base_ctr", 3, 10)
    run_steps(progress, clock, 10)
    progress.end_epoch({})
    progress.skip(20)  # it stopped early
    progress.skip(5)  # belongs to no stage
    progress.start_stage("base_cvr", 1, 5)
    run_steps(progress, clock, 1)
    assert "base_cvr | epoch 1/1 | step 1/5 |" in last_line(out)
    assert last_line(out).endswith("| 4 s left")


def test_an_epoch_shorter_than_announced_corrects_the_time_left():
    progress, clock, out = make(20)
    progress.start_stage("base_ctr", 2, 10)
    run_steps(progress, clock, 8)
    progress.end_epoch({})
    assert last_line(out).endswith("| step 8/10 | 100 examples/s | loss cvr 0.0712 | 10 s left")


def test_speed_leaves_out_the_first_step_and_validation():
    progress, clock, out = make(100, interval=1000.0)
    progress.start_stage("base_ctr", 1, 11)
    run_steps(progress, clock, 1, seconds=60.0)  # traces the graph
    run_steps(progress, clock, 9)
    clock.now += 1.0
    progress.step({}, examples=50)
    clock.now += 300.0  # validation
    progress.end_epoch({"ctr": 0.70125, "cvr": 0.0625})
    assert "| 95 examples/s |" in out.getvalue()
    assert "| validation ctr 0.70125, cvr 0.06250 |" in out.getvalue()


def test_a_terminal_shows_one_line_rewritten_and_epochs_that_stay(terminal):
    screen, clock = terminal(columns=200), Clock()
    progress = Progress(10, 100, screen.out, 1.0, clock)
    progress.start_stage("base_ctr", 1, 10)
    run_steps(progress, clock, 2)
    first, second = screen.read().split("\r")[1:]
    assert first.startswith("base_ctr | epoch 1/1 | step 1/10 ")
    assert second.startswith("base_ctr | epoch 1/1 | step 2/10 ")
    progress.start_stage("cvr", 1, 10)
    run_steps(progress, clock, 1)
    third = screen.read()
    assert third.startswith("\rcvr | ")
    assert third.endswith(" left" + " " * (len("base_ctr") - len("cvr")))  # wipes the earlier line
    progress.note("saved")
    written = screen.read()
    assert written.startswith("\rsaved ")
    assert len(written.strip("\r\n")) == len(third.strip())
    progress.end_epoch({"ctr": 0.7})
    assert screen.read().endswith(" left\n")


def test_a_narrow_terminal_loses_the_middle_before_the_time_left(terminal):
    screen, clock = terminal(columns=70), Clock()
    progress = Progress(10, 100, screen.out, 1.0, clock)
    progress.start_stage("base_ctr", 1, 10)
    run_steps(progress, clock, 1)
    assert screen.read() == ("\rbase_ctr | epoch 1/1 | step 1/10 | loss cvr 0.0712 | 9 s left")
    tiny = terminal(columns=12)
    progress = Progress(10, 100, tiny.out, 1.0, clock)
    progress.start_stage("base_ctr", 1, 10)
    run_steps(progress, clock, 1)
    assert tiny.read() == "\rbase_ctr | "


def test_close_ends_an_open_line_once(terminal):
    screen, clock = terminal(columns=80), Clock()
    with Progress(10, 100, screen.out, 1.0, clock) as progress:
        progress.start_stage("base_ctr", 1, 10)
        run_steps(progress, clock, 1)
        screen.read()
        progress.close()
    assert screen.read() == "\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599.7, "1 h 0 min"), (90_000, "1 d 1 h")],
)
def test_duration_rounds_before_it_chooses_units(seconds, words):
    assert duration(seconds) == words
