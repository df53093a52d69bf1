"""The client by gRPC, against a server of the published interface over the session loader."""

import importlib
import json
import math
import socket
from concurrent import futures

import grpc
import pytest
import tensorflow as tf

from tests.serving_stand_in.folders_served import serve_folders
from tests.serving_stand_in.served_sums import run_script, save_sums
from tests.support.paths import PROJECT

pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api (extra `serving`)")

from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

ROWS = "request,user,age,tags,length\nr1,ann,7,a|b,2.5\nr1,ann,7,,3\nr2,bø,40,c,\n"

ROW_FLAGS = ("--request_column=request", "--batch_size=2")


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers for version 1 of the model `sums`, label `stable`."""

    def __init__(self, session, definitions):
        self._session, self._definitions = session, definitions

    def GetModelMetadata(self, request, context):
        self._check(request.model_spec, context)
        assert list(request.metadata_field) == ["signature_def"]
        found = get_model_metadata_pb2.SignatureDefMap(signature_def=self._definitions)
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        answer.metadata["signature_def"].Pack(found)
        return answer

    def Predict(self, request, context):
        self._check(request.model_spec, context)
        inputs = {name: tf.make_ndarray(given) for name, given in request.inputs.items()}
        outputs = self._run(request.model_spec.signature_name, inputs)
        made = {name: tf.make_tensor_proto(values) for name, values in outputs.items()}
        return predict_pb2.PredictResponse(outputs=made)

    def Regress(self, request, context):
        self._check(request.model_spec, context)
        examples = request.input.example_list.examples
        inputs = {"inputs": [example.SerializeToString() for example in examples]}
        answer = regression_pb2.RegressionResponse()
        for value in self._run(request.model_spec.signature_name, inputs)["outputs"]:
            answer.result.regressions.add(value=value)
        return answer

    def _check(self, spec, context):
        known = spec.version.value in (0, 1) and spec.version_label in ("", "stable")
        if spec.name != "sums" or not known:
            context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found for request")

    def _run(self, signature, inputs):
        definition = self._definitions[signature]
        fed = {definition.inputs[name].name: values for name, values in inputs.items()}
        fetched = {name: info.name for name, info in definition.outputs.items()}
        return self._session.run(fetched, fed)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_sums(tmp_path_factory.mktemp("models") / "sums")


@pytest.fixture(scope="module")
def target(base):
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        loaded = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(base / "1"))
        server = grpc.server(futures.ThreadPoolExecutor(2))
        service = PredictionService(session, dict(loaded.signature_def))
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(ROWS, encoding="utf-8")
    return path


@pytest.fixture
def ask(rows, monkeypatch, capsys):
    """Runs the client in this process, in which TensorFlow is loaded already."""
    monkeypatch.syspath_prepend(str(PROJECT / "export"))
    client = importlib.import_module("client")

    def run(*flags):
        code = client.main([str(rows), "--model=sums", *ROW_FLAGS, *flags])
        return code, *capsys.readouterr()

    return run


def answers(code, output, errors):
    assert code == 0, errors
    header, *lines = output.splitlines()
    return header, [[float(cell) for cell in line.split(",")] for line in lines]


@pytest.mark.parametrize("signature", ["serving_default", "rank", "tf_example", "regress_ctr"])
@pytest.mark.parametrize("version", ["--version=", "--version=1", "--label=stable"])
def test_grpc_answers_as_rest_does(base, target, ask, signature, version):
    with serve_folders({"sums": base}) as url:
        header, expected = answers(*ask(f"--url={url}", f"--signature={signature}"))
    found = answers(*ask(f"--grpc={target}", f"--signature={signature}", version))
    assert found == (header, [pytest.approx(row, abs=1e-6) for row in expected])


@pytest.mark.parametrize("signature", ["serving_default", "rank", "tf_example", "regress_ctr"])
def test_a_load_by_grpc_of_requests_that_are_made_up(target, ask, capsys, signature):
    given = [f"--grpc={target}", "--model=sums", f"--signature={signature}", "--batch_size=5"]
    code = importlib.import_module("load_test").main([*given, "--max_requests=9", "--json"])
    output, errors = capsys.readouterr()
    assert (code, errors) == (0, "")
    assert json.loads(output)["outcomes"] == {"OK": 9}


@pytest.mark.parametrize("signature", ["serving_default", "rank", "tf_example", "regress_ctr"])
def test_a_load_by_grpc(target, rows, ask, capsys, signature):
    flags = ["--warm_up=2", "--max_requests=9", "--concurrency=3", "--json"]
    given = [f"--csv={rows}", f"--grpc={target}", "--model=sums", f"--signature={signature}"]
    code = importlib.import_module("load_test").main([*given, *ROW_FLAGS, *flags])
    output, errors = capsys.readouterr()
    assert (code, errors) == (0, "")
    summary = json.loads(output)
    assert (summary["requests"], summary["outcomes"]) == (9, {"OK": 9})
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["max"]


def test_candidates_are_filled_up_by_grpc_too(target, ask):
    flags = (f"--grpc={target}", "--signature=rank")
    assert answers(*ask(*flags, "--candidates=3,5")) == answers(*ask(*flags))


def test_numbers_that_float32_does_not_have_are_infinite_as_by_rest(base, target, ask, rows):
    rows.write_text(ROWS.replace("2.5", "1e40").replace(",3\n", ",-1e40\n"), encoding="utf-8")
    with serve_folders({"sums": base}) as url:
        by_rest = answers(*ask(f"--url={url}"))
    _, by_grpc = answers(*ask(f"--grpc={target}"))
    assert [pcvr for _, pcvr in by_grpc] == [math.inf, -math.inf, -1.0]
    assert by_rest[1] == [pytest.approx(row, abs=1e-6) for row in by_grpc]


def test_the_command_by_grpc(target, rows):
    run = run_script("client.py", rows, f"--grpc={target}", "--model=sums", packages=True)
    header, found = answers(run.returncode, run.stdout, run.stderr)
    assert header == "pctr,pcvr"
    assert found == [
        pytest.approx(row, abs=1e-6) for row in [(3.072, 2.5), (3.07, 3.0), (3.401, -1.0)]
    ]


def test_errors_by_grpc_end_with_the_codes_of_rest(target, ask):
    for wrong in ("--version=9", "--label=new", "--model=other"):
        code, output, errors = ask(f"--grpc={target}", wrong)
        assert (code, output) == (1, "")
        assert "GetModelMetadata: NOT_FOUND: Servable not found for request" in errors
    code, output, errors = ask("--grpc=127.0.0.1:1", "--timeout=5")
    assert (code, output) == (3, "")
    assert "UNAVAILABLE" in errors
    with socket.create_server(("127.0.0.1", 0)) as silent:
        code, output, errors = ask(f"--grpc=127.0.0.1:{silent.getsockname()[1]}", "--timeout=0.5")
    assert (code, output) == (3, "")
    assert "DEADLINE_EXCEEDED" in errors


def test_grpc_without_its_packages_says_what_to_install(rows):
    run = run_script("client.py", rows, "--grpc=localhost:8500")
    assert (run.returncode, run.stdout) == (2, "")
    assert "--grpc: needs tensorflow-serving-api, pip install 'lt4rec_tf[serving]'" in run.stderr
