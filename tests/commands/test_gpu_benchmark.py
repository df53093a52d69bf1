"""The tables of benchmarks/gpu.py, and what it does with the time that it has."""

import time

import pytest

from tests.support.paths import PROJECT


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(PROJECT / "benchmarks"))
    import gpu

    return gpu


def trained(gpu, seconds, auc, mse):
    metrics = {("s_gates", "ctr"): auc, ("s_gates", "cvr"): mse}
    return gpu.Trained({"s_gates": seconds}, metrics)


def test_differences_are_to_the_processor_and_what_was_not_run_says_so(gpu):
    name = gpu.PROCESSOR.name
    found = {
        (name, 1): trained(gpu, 20.0, 0.70, 0.056),
        ("GPU, float32", 1): trained(gpu, 5.0, 0.7001, 0.0559),
        (name, 2): trained(gpu, 19.0, 0.699, 0.0565),
    }
    header, lines = gpu.quickstart_table(found, ["s_gates"])
    assert header[4:] == ["CTR AUC", "to the processor", "CVR MSE", "to the processor"]
    assert lines[0][1:] == [name, "20.0", "1.00", "0.70000", "+0.00000", "0.05600", "+0.00000"]
    assert lines[1][2:] == ["5.0", "0.25", "0.70010", "+0.00010", "0.05590", "-0.00010"]
    assert lines[2][1:4] == ["GPU, TF32", "not run", ""]
    assert lines[4][1:] == [
        f"{name}, another seed", "19.0", "0.95", "0.69900", "-0.00100", "0.05650", "+0.00050",
    ]  # fmt: skip
    assert {len(line) for line in lines} == {len(header)}


def test_speeds_are_beside_the_processors(gpu):
    header, lines = gpu.speed_table({10: {gpu.PROCESSOR.name: 1000.0, "GPU, TF32": 8000.0}, 20: {}})
    assert lines[0] == ["200", gpu.PROCESSOR.name, "1,000", "1.00"]
    assert lines[2] == ["200", "GPU, TF32", "8,000", "8.00"]
    assert [line[2] for line in lines[4:]] == ["not run"] * 4
    assert {len(line) for line in lines} == {len(header)}


def test_nothing_begins_that_would_not_end_in_time(gpu):
    now = time.monotonic()
    clock = gpu.Clock(now + 100)
    assert clock.has_time()
    assert clock.measured(now - 60) == pytest.approx(60, abs=5)
    assert clock.has_time()
    clock.measured(now - 120)
    assert not clock.has_time()
    assert clock.longest >= 120
