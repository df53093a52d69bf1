"""The load test, run as an operator runs it, without any package, against a server."""

import json
import re
import socket
import threading

import pytest

from tests.serving_stand_in.canned_server import canned
from tests.serving_stand_in.folders_served import serve_folders
from tests.serving_stand_in.served_sums import run_script, save_sums
from tests.support.paths import PROJECT

ROWS = "user,age,tags,length\n" + "ann,7,a|b,2.5\n" * 10
SAMPLE = f"--requests={PROJECT / 'export' / 'request.json'}"
ROW = {"user": "ann", "age": 7, "tags": ["a"], "length": 2.5}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    base = tmp_path_factory.mktemp("models") / "sums"
    save_sums(base)
    with serve_folders({"sums": base}) as address:
        yield address


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(ROWS, encoding="utf-8")
    return path


def load(url, *flags, seconds=20):
    return run_script(
        "load_test.py", f"--url={url}", "--model=sums", f"--seconds={seconds}", *flags
    )  # fmt: skip


def write_requests(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
    return f"--requests={path}"


@pytest.mark.parametrize("signature", ["serving_default", "rank", "tf_example", "regress_ctr"])
def test_requests_of_a_csv_are_counted_and_timed(url, rows, signature):
    run = load(
        url,
        f"--csv={rows}",
        f"--signature={signature}",
        "--request_column=user",
        "--batch_size=3",
        "--max_requests=40",
        "--warm_up=2",
        "--json",
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    summary = json.loads(run.stdout)
    assert (summary["requests"], summary["outcomes"]) == (40, {"200": 40})
    latency = summary["latency_ms"]
    assert list(latency) == ["mean", "p50", "p90", "p95", "p99", "max"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p95"] <= latency["p99"]
    assert latency["p99"] <= latency["max"] <= 1000 * summary["seconds"]
    assert summary["answered_per_second"] == pytest.approx(40 / summary["seconds"], rel=0.1)


def test_the_table_for_people(url, rows):
    run = load(url, f"--csv={rows}", "--max_requests=7", "--concurrency=2")
    lines = run.stdout.splitlines()
    assert lines[0].startswith("7 requests in ")
    assert ", 2 at a time: " in lines[0]
    assert lines[1].split() == ["200", "7"]
    assert [line.split()[0] for line in lines[2:]] == ["mean", "p50", "p90", "p95", "p99", "max"]


def test_the_load_ends_when_its_time_is_up(url, rows):
    run = load(url, f"--csv={rows}", "--json", seconds=0.3)
    summary = json.loads(run.stdout)
    assert summary["seconds"] >= 0.3
    assert summary["requests"] == summary["outcomes"]["200"] > 0


def test_requests_of_a_file_are_sent_in_turn_and_errors_counted_by_status(url, tmp_path):
    good, bad = {"instances": [ROW]}, {"instances": [{"user": "ann"}]}
    flags = (write_requests(tmp_path / "requests.json", [good, bad]), "--max_requests=10")
    run = load(url, *flags, "--json")
    assert run.returncode == 1
    summary = json.loads(run.stdout)
    assert summary["outcomes"] == {"200": 5, "400": 5}
    assert re.match("first error: POST .*:predict: 400: ", run.stderr)


def test_latencies_of_no_good_answer_are_null(url, tmp_path):
    flags = (write_requests(tmp_path / "requests.json", {"instances": []}), "--max_requests=4")
    run = load(url, *flags, "--json")
    assert run.returncode == 1
    summary = json.loads(run.stdout)
    assert summary["outcomes"] == {"400": 4}
    assert set(summary["latency_ms"].values()) == {None}


def test_a_regress_request_of_a_file_is_sent_to_its_route(url, tmp_path):
    example = {"user": "ann", "length": 2.5}
    body = {"signature_name": "regress_ctr", "examples": [example]}
    run = load(url, write_requests(tmp_path / "requests.json", body), "--max_requests=3", "--json")
    assert json.loads(run.stdout)["outcomes"] == {"200": 3}, run.stderr


@pytest.mark.parametrize(
    "signature", ["serving_default", "ctr", "rank", "tf_example", "regress_ctr"]
)
def test_requests_made_up_from_metadata_are_answered(url, signature):
    flags = (f"--signature={signature}", "--batch_size=3", "--max_requests=6", "--warm_up=2")
    run = load(url, *flags, "--json")
    assert (run.returncode, run.stderr) == (0, "")
    assert json.loads(run.stdout)["outcomes"] == {"200": 6}


def test_a_load_that_is_refused_ends_early_and_says_why():
    seen = []
    with canned({}, 400, {"error": "Missing inputs: age"}, seen.append) as url:
        run = load(url, SAMPLE, "--most_refusals=7", "--concurrency=2", "--warm_up=20", "--json")
    assert run.returncode == 4
    (refused,) = json.loads(run.stdout)["outcomes"].items()
    assert refused in (("400", 7), ("400", 8))  # one may be on its way
    # The first request, six or seven that warm up, and those that are counted.
    assert len(seen) == 1 + 7 + refused[1]
    first, stopped = run.stderr.splitlines()
    assert first.endswith(":predict: 400: Missing inputs: age")
    assert first.startswith("first error: POST")
    assert stopped.startswith("stopped: 7 requests in a row were refused")


@pytest.mark.parametrize(
    ("status", "flags"), [(503, []), (429, []), (500, []), (400, ["--most_refusals=0"])]
)
def test_a_load_that_others_or_other_times_may_be_answered_goes_on(status, flags):
    with canned({}, status, {"error": "full"}) as url:
        run = load(url, SAMPLE, "--max_requests=25", "--warm_up=0", "--json", *flags)
    assert run.returncode == 1
    assert json.loads(run.stdout)["outcomes"] == {str(status): 25}
    assert "stopped" not in run.stderr


def test_refusals_between_answers_do_not_end_a_load(url, tmp_path):
    good, bad = {"instances": [ROW]}, {"instances": [{"user": "ann"}]}
    flags = (write_requests(tmp_path / "requests.json", [good, bad]), "--most_refusals=2")
    run = load(url, *flags, "--concurrency=1", "--max_requests=20", "--json")
    assert run.returncode == 1
    assert json.loads(run.stdout)["outcomes"] == {"200": 10, "400": 10}


def test_requests_are_on_their_way_at_the_same_time():
    together = threading.Barrier(3)
    with canned({}, 200, {}, lambda _: together.wait(timeout=20)) as url:
        run = load(url, SAMPLE, "--concurrency=3", "--warm_up=0", "--max_requests=6", "--json")
    assert json.loads(run.stdout)["outcomes"] == {"200": 6}, run.stderr


def test_requests_that_warm_the_server_up_are_sent_and_not_counted():
    seen = []
    with canned({}, 200, {}, seen.append) as url:
        run = load(url, SAMPLE, "--warm_up=5", "--max_requests=4", "--json")
    assert json.loads(run.stdout)["requests"] == 4
    assert len(seen) == 9


def test_headers_are_sent_with_every_request():
    seen = []
    with canned({}, 200, {}, seen.append) as url:
        load(url, SAMPLE, "--header=Host: feed.example.org", "--warm_up=1", "--max_requests=2")
    assert [call.headers.get_all("Host") for call in seen] == [["feed.example.org"]] * 3


@pytest.mark.parametrize("host", ["192.0.2.1", "[2001:db8::1]", "0.0.0.0"])
def test_a_server_elsewhere_is_not_loaded_unless_asked(host):
    run = load(f"http://{host}:8501")
    assert (run.returncode, run.stdout) == (2, "")
    assert f"--url: found {host.strip('[]')}, expected this machine" in run.stderr


def test_no_server(rows):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    run = load(f"http://127.0.0.1:{port}")
    assert (run.returncode, run.stdout) == (3, "")
    assert "no answer" in run.stderr
    run = load(f"http://127.0.0.1:{port}", SAMPLE, "--warm_up=0", "--max_requests=2", "--json")
    assert run.returncode == 3
    assert json.loads(run.stdout)["outcomes"] == {"no answer": 2}


REFUSALS = {
    "seconds": (["--seconds=301"], "--seconds: found 301.0, expected above 0, to 300"),
    "no seconds": (["--seconds=0"], "--seconds: found 0.0"),
    "concurrency": (["--concurrency=65"], "--concurrency: found 65, expected 1 to 64"),
    "no file": (["--requests=absent.json"], "absent.json: cannot be read as JSON"),
    "refusals": (["--most_refusals=-1"], "--most_refusals: found -1, expected 0 or more"),
    "two sources": (["--csv=a.csv", SAMPLE], "--requests and --csv: found both, expected one"),
    "a column of no rows": (["--request_column=user"], "--request_column: found without --csv"),
    "candidates of rows": (["--candidates=3"], "--candidates: found with signature serving_def"),
    "signature": (["--signature=ranks"], "signature ranks: not found, expected one of ctr,"),
    "count": (["--max_requests=-1"], "--max_requests: found -1, expected 0 or more"),
}


@pytest.mark.parametrize(("flags", "message"), REFUSALS.values(), ids=REFUSALS)
def test_flags_that_cannot_be(url, flags, message):
    run = load(url, *flags)
    assert (run.returncode, run.stdout) == (2, "")
    assert message in run.stderr


BAD_FILES = {
    "no list of objects": ([1], "expected an object, or a list of objects"),
    "no request": ([], "found no request"),
    "two routes": ([{"instances": [1]}, {"examples": [{}]}], "predict and regress requests"),
}


@pytest.mark.parametrize(("content", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_files_that_hold_no_requests(url, tmp_path, content, message):
    run = load(url, write_requests(tmp_path / "requests.json", content))
    assert (run.returncode, run.stdout) == (2, "")
    assert message in run.stderr
