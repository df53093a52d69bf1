"""The client's commands, run as an operator runs them, without any package, against a server."""

import gzip
import json
import socket

import pytest

from tests.serving_stand_in.canned_server import canned, described
from tests.serving_stand_in.folders_served import serve_folders
from tests.serving_stand_in.served_sums import run_script, save_sums

ROWS = """request,user,age,tags,length
r1,ann,7,a|b,2.5
r1,ann,7,,3
r2,bø,40,c,
"""
ANSWERS = [(3.072, 2.5), (3.07, 3.0), (3.401, -1.0)]  # ø is two bytes; no length: -1


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_sums(tmp_path_factory.mktemp("models") / "sums")


@pytest.fixture(scope="module")
def url(base):
    with serve_folders({"sums": base}, labels={"sums": {"stable": 1}}) as address:
        yield address


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(ROWS, encoding="utf-8")
    return path


def ask(url, path, *flags):
    return run_script("client.py", path, f"--url={url}", "--model=sums", *flags)


def numbers(line):
    return [float(cell) for cell in line.split(",")]


def check_answers(run, header="pctr,pcvr", answers=ANSWERS):
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    lines = run.stdout.splitlines()
    columns = {name: place for place, name in enumerate(lines[0].split(","))}
    assert set(columns) == set(header.split(","))
    found = [numbers(line) for line in lines[1:]]
    ordered = [[row[columns[name]] for name in header.split(",")] for row in found]
    assert ordered == [pytest.approx(row, abs=1e-6) for row in answers]


@pytest.mark.parametrize("batch_size", [1, 2, 128])
def test_rows_are_answered_in_their_order_whatever_the_batches(url, rows, batch_size):
    check_answers(ask(url, rows, f"--batch_size={batch_size}"))


@pytest.mark.parametrize("chosen", ["--version=1", "--label=stable"])
def test_a_version_is_chosen_by_number_or_label(url, rows, chosen):
    check_answers(ask(url, rows, chosen))


def test_a_signature_with_one_answer(url, rows):
    check_answers(ask(url, rows, "--signature=ctr"), "pctr", [row[:1] for row in ANSWERS])


def test_a_signature_of_serialized_examples(url, rows):
    check_answers(ask(url, rows, "--signature=tf_example"))


def test_a_regress_signature(url, rows):
    run = ask(url, rows, "--signature=regress_ctr", "--batch_size=2")
    check_answers(run, "outputs", [row[:1] for row in ANSWERS])


@pytest.mark.parametrize("width", [0, 5])
def test_rank_takes_the_rows_of_each_request_together(url, rows, width):
    run = ask(
        url, rows, "--signature=rank", "--request_column=request", f"--list_width={width}"
    )  # fmt: skip
    expected = [(pctr, pcvr, pctr * pcvr) for pctr, pcvr in ANSWERS]
    check_answers(run, "pctr,pcvr,score", expected)


def test_rank_needs_to_know_the_requests(url, rows):
    run = ask(url, rows, "--signature=rank")
    assert (run.returncode, run.stdout) == (2, "")
    assert "--request_column" in run.stderr


def test_rank_refuses_a_request_whose_rows_disagree_about_it(url, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(ROWS.replace("r2,", "r1,"), encoding="utf-8")
    run = ask(url, path, "--signature=rank", "--request_column=request")
    assert (run.returncode, run.stdout) == (2, "")
    assert "rows.csv:4, column age: differs from line 2" in run.stderr


def test_json_lines_with_kept_columns(url, rows):
    run = ask(url, rows, "--output=jsonl", "--keep=request,user", "--signature=ctr")
    found = [json.loads(line) for line in run.stdout.splitlines()]
    assert [(row["request"], row["user"]) for row in found] == [
        ("r1", "ann"), ("r1", "ann"), ("r2", "bø")
    ]  # fmt: skip
    assert [row["pctr"] for row in found] == pytest.approx([row[0] for row in ANSWERS], abs=1e-6)


def test_columns_of_other_names_separators_and_compressed_files(url, tmp_path):
    path = tmp_path / "rows.csv.gz"
    text = "name,age,tags,seconds\nann,7,a;b,2.5\n"
    path.write_bytes(gzip.compress(text.encode("utf-8")))
    run = ask(
        url, path, "--column=user=name", "--column=length=seconds", "--list_separator=;"
    )  # fmt: skip
    check_answers(run, answers=ANSWERS[:1])


def test_lists_in_json(url, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('user,age,tags,length\nann,7,"[""a"", null, ""b""]",2.5\n', encoding="utf-8")
    check_answers(ask(url, path, "--list_separator=json"), answers=ANSWERS[:1])
    path.write_text('user,age,tags,length\nann,7,"[""a""",2.5\n', encoding="utf-8")
    refused = ask(url, path, "--list_separator=json")
    assert refused.returncode == 2
    assert "rows.csv:2, column tags: found '[\"a\"', expected string" in refused.stderr


def test_what_an_empty_cell_stands_for(url, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("user,age,tags,length\n,,,\nann,7,,3\n", encoding="utf-8")
    refused = ask(url, path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "rows.csv:2, column age: nothing there; --missing=age=<integer>" in refused.stderr
    check_answers(ask(url, path, "--missing=age=5"), answers=[(0.05, -1.0), ANSWERS[1]])
    given = ask(url, path, "--missing=age=0", "--missing=length=4", "--missing=user=bob")
    check_answers(given, answers=[(3.0, 4.0), ANSWERS[1]])
    # As an example the row goes without what it does not have: the model says what that means.
    check_answers(ask(url, path, "--signature=tf_example"), answers=[(-0.01, -1.0), ANSWERS[1]])


def test_numbers_as_pandas_and_databases_write_them(url, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(ROWS.replace(",7,", ",7.0,"), encoding="utf-8")
    check_answers(ask(url, path))
    text = "user,age,tags,length\nann,{},a,{}\n"
    path.write_text(text.format("true", "False"), encoding="utf-8")
    booleans = ask(url, path)
    path.write_text(text.format("1", "0"), encoding="utf-8")
    assert (booleans.returncode, booleans.stdout) == (0, ask(url, path).stdout)


BAD_ROWS = {
    "no column": ("user,age,tags\nann,7,a\n", "no column length; found user, age, tags"),
    "a column twice": ("user,age,tags,length,age\n", "columns named twice: age"),
    "a word for a number": (
        "user,age,tags,length\nann,7,a,1\nann,old,a,1\n",
        "rows.csv:3, column age: found 'old', expected int64",
    ),
    "beyond int64": (
        f"user,age,tags,length\nann,{2**63},a,1\n",
        f"column age: found '{2**63}', expected int64",
    ),
    "a cell too many": ("user,age,tags,length\nann,7,a,1,2\n", "rows.csv:2: 5 cells, expected 4"),
    "nothing": ("", "no column age, length, tags, user; found none"),
    "an open quote": ('user,age,tags,length\n"ann,7,a,1\n', "cannot be read as CSV"),
}


@pytest.mark.parametrize(("text", "message"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_csv_that_cannot_be_used_is_refused_by_line_and_column(url, tmp_path, text, message):
    path = tmp_path / "rows.csv"
    path.write_text(text, encoding="utf-8")
    run = ask(url, path)
    assert run.returncode == 2
    assert message in run.stderr
    assert "Traceback" not in run.stderr


def test_a_csv_that_is_not_there_or_not_utf_8(url, tmp_path):
    assert "No such file" in ask(url, tmp_path / "absent.csv").stderr
    path = tmp_path / "rows.csv"
    path.write_bytes("user,age,tags,length\nb\u00f8,7,a,1\n".encode("latin-1"))
    run = ask(url, path)
    assert run.returncode == 2
    assert "rows.csv: cannot be read as CSV ('utf-8' codec" in run.stderr


def test_lists_longer_than_the_width_are_refused(url, rows):
    run = ask(url, rows, "--list_width=1")
    assert run.returncode == 2
    assert "rows.csv:2, column tags: 2 values, expected at most --list_width=1" in run.stderr


REFUSALS = {
    "model": (["--model=other"], 1, "404: Servable not found for request: Latest(other)"),
    "version": (["--version=9"], 1, "404: Servable not found for request: Specific(sums, 9)"),
    "label": (["--label=new"], 1, "400: Unrecognized servable version label: new"),
    "signature": (["--signature=cvr"], 2, "signature cvr: not found, expected one of ctr, rank"),
    "kept column": (["--keep=day"], 2, "--keep: found day, expected a column of the CSV"),
    "both": (["--version=1", "--label=new"], 2, "--version and --label: found both"),
    "address": (["--url=localhost:8501"], 2, "--url: found localhost:8501, expected http://"),
    "port": (["--url=http://localhost:x"], 2, "--url:"),
    "batch": (["--batch_size=0"], 2, "--batch_size: found 0, expected 1 or more"),
    "missing": (["--missing=age=old"], 2, "--missing: found age=old, expected int64"),
    "feature": (["--missing=day=1"], 2, "--missing: found day, expected one of age, length, tags"),
    "column": (["--column=day=user"], 2, "--column: found day, expected one of age, length, tags"),
    "candidates": (
        ["--signature=rank", "--request_column=user", "--candidates=1"],
        2,
        "rows.csv:2-3: found 2 candidates of one request, expected at most 1 (--candidates)",
    ),
    "no candidates": (["--candidates=4"], 2, "serving_default, which scores no candidates"),
    "sizes": (["--candidates=4,2"], 2, "found 4,2, expected ascending numbers from 1 to 1000000"),
    "pair": (["--missing=age"], 2, "found age, expected name=value"),
}


@pytest.mark.parametrize(("flags", "code", "message"), REFUSALS.values(), ids=REFUSALS)
def test_what_cannot_be_answered_is_said_with_its_exit_code(url, rows, flags, code, message):
    run = ask(url, rows, *flags)
    assert run.returncode == code, run.stderr
    assert message in run.stderr
    assert "Traceback" not in run.stderr


def test_a_request_that_the_server_refuses_is_named_by_its_lines(rows):
    metadata = {"serving_default": described(["user", "age", "length"], ["pctr"])}
    with canned(metadata, 400, {"error": "the graph says no"}) as url:
        run = ask(url, rows, "--batch_size=2")
    assert (run.returncode, run.stdout) == (1, "")
    assert "rows.csv:2-3: POST" in run.stderr
    assert "400: the graph says no" in run.stderr


def described_rank():
    """Signatures of a model whose `rank` takes the length of each candidate."""
    row = described(["user", "age", "length"], ["score"])
    rank = {**row, "inputs": row["inputs"] | described(["length"], [], rank=2)["inputs"]}
    return {"serving_default": row, "rank": rank}


def test_answers_about_candidates_that_nobody_asked_about_are_an_error(rows):
    with canned(described_rank(), 200, {"outputs": [[1.0, 2.0, 3.0]]}) as url:
        run = ask(url, rows, "--signature=rank", "--request_column=request")
    assert (run.returncode, run.stdout) == (1, "")
    assert "rows.csv:2-3: answer: score: found a list of 3, expected a list of 2" in run.stderr


def test_another_number_of_answers_than_of_rows_is_an_error(rows):
    metadata = {"serving_default": described(["user", "age", "length"], ["pctr"])}
    for answers in ([1.0, 2.0], [1.0, 2.0, 3.0, 4.0]):
        with canned(metadata, 200, {"outputs": answers}) as url:
            run = ask(url, rows)
        assert (run.returncode, run.stdout) == (1, "")
        message = f"pctr: found a list of {len(answers)}, expected a list of 3, one a row"
        assert message in run.stderr


def test_a_server_of_another_kind_is_told_from_one_that_refuses(rows):
    with canned(None, 200, {}) as url:
        run = ask(url, rows)
    assert run.returncode == 1
    assert "is no TensorFlow Serving" in run.stderr


def test_no_server_and_a_silent_server_end_with_their_own_code(rows):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        run = ask(f"http://127.0.0.1:{port}", rows, "--timeout=0.2")
    assert (run.returncode, run.stdout) == (3, "")
    assert f"127.0.0.1:{port}: no answer (timed out)" in run.stderr
    run = ask(f"http://127.0.0.1:{port}", rows)
    assert (run.returncode, run.stdout) == (3, "")
    assert "Connection refused" in run.stderr


def test_headers_and_the_path_of_the_address_are_kept(rows):
    seen = []
    metadata = {"serving_default": described(["user", "age", "length"], ["pctr"])}
    with canned(metadata, 200, {"outputs": [1.0, 2.0, 3.0]}, seen.append) as url:
        flags = ("--header=Authorization: Bearer a:b", "--header=Host: feed.example.org")
        run = ask(f"{url}/behind/", rows, *flags)
    check_answers(run, "pctr", [[1.0], [2.0], [3.0]])
    (call,) = seen
    assert call.path == "/behind/v1/models/sums:predict"
    assert call.headers.get_all("Host") == ["feed.example.org"]
    assert call.headers["Authorization"] == "Bearer a:b"


def sent(path, metadata, answer, *flags):
    """The bodies that the client sends to a server with these signatures, and what it prints."""
    seen = []
    with canned(metadata, 200, lambda body: {"outputs": answer(body)}, seen.append) as url:
        run = ask(url, path, *flags)
    assert run.returncode == 0, run.stderr
    return [json.loads(call.body) for call in seen], run.stdout.splitlines()


def lengths(body):
    return body["inputs"]["length"]


def test_what_is_said_of_a_request_is_sent_once_for_its_candidates(rows):
    flags = ("--signature=rank", "--request_column=request", "--missing=length=0.5")
    bodies, printed = sent(rows, described_rank(), lengths, *flags)
    assert bodies == [
        {"signature_name": "rank", "inputs": {"user": ["ann"], "age": [7], "length": [[2.5, 3.0]]}},
        {"signature_name": "rank", "inputs": {"user": ["bø"], "age": [40], "length": [[0.5]]}},
    ]
    assert printed == ["score", "2.5", "3.0", "0.5"]


def test_candidates_are_filled_up_to_the_next_of_a_few_lengths_and_answers_cut(rows):
    flags = ("--signature=rank", "--request_column=request", "--candidates=1,3,9")
    bodies, printed = sent(rows, described_rank(), lengths, *flags, "--missing=length=0.5")
    assert [lengths(body) for body in bodies] == [[[2.5, 3.0, 3.0]], [[0.5]]]
    assert printed == ["score", "2.5", "3.0", "0.5"]


def test_filled_up_candidates_change_no_answer_of_a_model(url, rows):
    flags = ("--signature=rank", "--request_column=request", "--candidates=4")
    expected = [(pctr, pcvr, pctr * pcvr) for pctr, pcvr in ANSWERS]
    check_answers(ask(url, rows, *flags), "pctr,pcvr,score", expected)


@pytest.mark.parametrize(
    ("cells", "flags", "lists"),
    [
        (["a|b", "", "c"], [], [["a", "b"], ["", ""], ["c", ""]]),
        (["a||b", "|"], [], [["a", "b"], ["", ""]]),
        (["", ""], [], [[""], [""]]),
        (["a", "b"], ["--list_width=2", "--missing=user=-1"], [["a", "-1"], ["b", "-1"]]),
    ],
)
def test_lists_of_a_request_are_equally_long_and_never_empty(tmp_path, cells, flags, lists):
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(["user,n", *(f"{cell},0" for cell in cells)]), encoding="utf-8")
    metadata = {"serving_default": described(["user"], ["score"], rank=2)}
    (body,), _ = sent(path, metadata, lambda _: [0.0] * len(cells), *flags)
    assert body == {"signature_name": "serving_default", "inputs": lists}
