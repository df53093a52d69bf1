"""What a client of a published model gets, by REST, from any server: see `serving_server`."""

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.serving_stand_in.served_model import (
    assert_same,
    publish_network,
    running_server,
    schema_of_rows,
    usual_row,
)
from tests.serving_stand_in.serving_server import (
    WIDTH,
    Server,
    as_rows,
    named_server,
    started_server,
    states,
    wait_for,
)
from tests.support.networks import build_small

OF_ROWS = ["serving_default", "ctr", "cvr", "ctcvr"]
ALL = {*OF_ROWS, "rank", "score", "tf_example", "regress_ctr", "regress_cvr"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_server(tmp_path_factory.mktemp("served")) as running:
        yield running


def test_a_published_version_is_available(server):
    assert "AVAILABLE" in states(server.url, server.model).values()


def test_the_signatures_of_an_export(server):
    if server.base is None:
        pytest.skip("LT4REC_SERVING_URL: which signatures the named model has is its own affair")
    assert {name for name in server.definitions() if not name.startswith("__")} == ALL
    assert server.outputs("serving_default") == ["pctcvr", "pctr", "pcvr"]
    assert server.outputs("rank") == ["pctr", "pcvr", "score"]
    assert server.outputs("score") == ["score"]
    for signature in ("ctr", "cvr", "ctcvr"):
        assert server.outputs(signature) == [f"p{signature}"]


@pytest.mark.parametrize("signature", [*OF_ROWS, "rank"])
def test_rows_and_columns_answer_as_the_session_loader(server, signature):
    columns = server.random_inputs(signature, 32)
    by_column = server.columns(signature, columns)
    assert_same(server.rows(signature, as_rows(columns)), by_column)
    assert all(np.isfinite(values).all() for values in by_column.values())
    assert_same(by_column, server.by_session(signature, columns))


@pytest.mark.parametrize("signature", [*OF_ROWS, "rank"])
def test_a_row_alone_answers_as_among_others(server, signature):
    columns = server.random_inputs(signature, 5, seed=1)
    together = server.columns(signature, columns)
    for place, row in enumerate(as_rows(columns)):
        expected = {name: values[place : place + 1] for name, values in together.items()}
        assert_same(server.rows(signature, [row]), expected)


def test_signatures_agree_with_each_other(server):
    columns = server.random_inputs("serving_default", 16, seed=2)
    whole = server.columns("serving_default", columns)
    for signature in ("ctr", "cvr", "ctcvr"):
        name = f"p{signature}"
        assert_same(server.columns(signature, columns), {name: whole[name]})
    np.testing.assert_allclose(whole["pctcvr"], whole["pctr"] * whole["pcvr"], atol=1e-6)


def test_three_spellings_of_a_string_that_is_not_ascii(server):
    row = usual_row(server)
    kinds = server.inputs("serving_default")
    words = [name for name in kinds if kinds[name] == ("DT_STRING", 1)]
    encoded = {"b64": base64.b64encode("планшет 🎬".encode()).decode()}
    answers = []
    for value, as_ascii in (("планшет 🎬", True), ("планшет 🎬", False), (encoded, True)):
        changed = row | dict.fromkeys(words, value)
        text = json.dumps({"instances": [changed]}, ensure_ascii=as_ascii)
        status, content = server.call("predict", text)
        assert status == 200
        answers.append(content["predictions"])
    assert answers[0] == answers[1] == answers[2]
    assert answers[0] != server.call("predict", {"instances": [row]})[1]["predictions"]


def test_values_that_stand_for_absence_agree(server):
    server.version()
    row = usual_row(server)
    absent = [
        {"age": float("nan"), "source": "-1", "user": "", "hour": -1, "tags": []},
        {"age": float("inf"), "source": "", "user": "", "hour": -1, "tags": []},
        {"age": -float("inf"), "source": "-1", "user": "", "hour": -1, "tags": []},
        {"age": 1e40, "source": "-1", "user": "", "hour": -1, "tags": []},
    ]
    answers = server.rows("serving_default", [row | other for other in absent])
    padded = server.rows("serving_default", [row | absent[0] | {"tags": ["", ""]}])
    for name, values in answers.items():
        assert np.isfinite(values).all()
        np.testing.assert_allclose(values, padded[name][0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("signature", [*OF_ROWS, "rank"])
def test_an_absent_feature_is_named_in_the_refusal(server, signature):
    row = usual_row(server, signature)
    for name in row:
        rest = {other: value for other, value in row.items() if other != name}
        assert name in server.refusal(signature, instances=[rest]).rpartition("equal to:")[2]
        columns = {other: [value] for other, value in rest.items()}
        assert f"Missing named input: {name}" in server.refusal(signature, inputs=columns)


def test_a_feature_that_is_not_known_is_refused_in_rows_and_ignored_in_columns(server):
    row = usual_row(server)
    assert "unknown" in server.refusal("", instances=[row | {"unknown": 1}])
    columns = {name: [value] for name, value in row.items()}
    expected = server.columns("serving_default", columns)
    assert_same(server.columns("serving_default", columns | {"unknown": [1]}), expected)


WRONG = {
    "DT_STRING": [1, 1.5, True, None, {"x": "y"}],
    "DT_INT64": ["7", 7.0, True, None, 2**63],
    "DT_FLOAT": ["0.5", True, None, {}],
}


@pytest.mark.parametrize("signature", ["serving_default", "rank"])
def test_a_value_of_another_type_is_refused(server, signature):
    row = usual_row(server, signature)
    for name, (dtype, rank) in server.inputs(signature).items():
        for wrong in WRONG[dtype]:
            value = wrong if rank == 1 else [wrong] * WIDTH
            assert name in server.refusal(signature, instances=[row | {name: value}])


@pytest.mark.parametrize("signature", ["serving_default", "rank"])
def test_a_value_of_another_rank_is_refused(server, signature):
    row = usual_row(server, signature)
    for name in server.inputs(signature):
        for value in ([row[name]], [[row[name]]]):
            assert server.refusal(signature, instances=[row | {name: value}])
        if isinstance(row[name], list):
            assert server.refusal(signature, instances=[row | {name: row[name][0]}])
    assert server.rows(signature, [row])


def test_features_of_different_length_are_refused(server):
    row = usual_row(server)
    columns = {name: [value] * 3 for name, value in row.items()}
    for name in columns:
        for rows in (0, 1, 2, 4):
            assert server.refusal("", inputs=columns | {name: [row[name]] * rows})
    lists = [name for name, value in row.items() if isinstance(value, list)]
    for name in lists:
        assert server.refusal("", instances=[row, row | {name: row[name][:1]}])


def test_no_rows_at_all(server):
    assert server.refusal("", instances=[])
    columns = {name: [] for name in server.inputs("serving_default")}
    if any(rank > 1 for _, rank in server.inputs("serving_default").values()):
        # JSON cannot say how many values the lists of no rows have.
        assert server.refusal("", inputs=columns)


def test_ten_thousand_rows(server):
    columns = server.random_inputs("serving_default", 10_000, seed=3)
    answers = server.columns("serving_default", columns)
    few = {name: values[5_000:5_010] for name, values in columns.items()}
    expected = server.columns("serving_default", few)
    assert_same({name: values[5_000:5_010] for name, values in answers.items()}, expected)
    assert all(len(v) == 10_000 and np.isfinite(v).all() for v in answers.values())


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "1e40", "-1e40", "1e-60"])
def test_numbers_that_are_none_or_have_no_place(server, token):
    row = usual_row(server)
    for name, (dtype, rank) in server.inputs("serving_default").items():
        if dtype == "DT_FLOAT" and rank == 1:
            text = json.dumps({"instances": [row | {name: "here"}]}).replace('"here"', token)
            status, content = server.call("predict", text)
            assert status == 200
            assert all(0 <= value <= 1 for value in content["predictions"][0].values())


def test_what_is_not_there(server):
    request = {"instances": [usual_row(server)]}
    assert 'signature name: "none"' in server.refusal("none", **request)
    elsewhere = Server(server.url, f"{server.model}/versions/{2**40}", None)
    assert elsewhere.call("predict", request)[0] == 404
    nobody = Server(server.url, "no%20such%20model", None)
    assert nobody.call("predict", request)[0] == 404
    labelled = Server(server.url, f"{server.model}/labels/none", None)
    assert labelled.call("predict", request)[0] == 400


def test_a_refusal_may_hold_bytes_that_are_no_text(server):
    """The server echoes bytes: whoever reads a refusal must bear what is no UTF-8."""
    body = b'{"signature_name": "\xff", "instances": [1]}'
    status, content = server.call("predict", body)
    assert status == 400
    assert "\udcff" in content["error"]


def test_bad_requests_poison_no_other(server):
    columns = server.random_inputs("serving_default", 4, seed=4)
    expected = server.columns("serving_default", columns)
    row = usual_row(server)
    bad = [
        '{"instances": [',
        {"instances": [dict.fromkeys(row)]},
        {"instances": [{name: [[value]] for name, value in row.items()}]},
        {"inputs": {name: [] for name in row}},
    ]

    def ask(place):
        if place % 2:
            return server.call("predict", bad[place // 2 % len(bad)])[0] == 400
        assert_same(server.columns("serving_default", columns), expected)
        return True

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(ask, range(40)))


def test_a_new_version_is_picked_up_without_a_failed_request(tmp_path):
    if named_server():
        pytest.skip("LT4REC_SERVING_URL: tests cannot publish to a server that was only named")
    schema, base = schema_of_rows(tmp_path), tmp_path / "feed"
    publish_network(build_small(schema, seed=1), schema, base, only="serving_default")
    with started_server(base) as server:
        columns = server.random_inputs("serving_default", 2)
        seen, failed, ended = [server.columns("serving_default", columns)], [], threading.Event()

        def ask():
            while not ended.is_set():
                status, content = server.call("predict", {"inputs": columns})
                (seen if status == 200 else failed).append(content.get("outputs", content))

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        publish_network(build_small(schema, seed=2), schema, base, only="serving_default")
        wait_for(server.url, {"2": "AVAILABLE", "1": "END"}, server.model)
        ended.set()
        for thread in threads:
            thread.join()
        last = server.columns("serving_default", columns)
    assert not failed
    assert len(seen) > 2  # requests ran all the while
    for answer in seen:
        near = [np.allclose(answer["pctr"], kind["pctr"], atol=1e-6) for kind in (seen[0], last)]
        assert near in ([True, False], [False, True])
