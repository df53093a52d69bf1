"""Exit codes and messages of the client and the load test by gRPC, whatever the server answers."""

import importlib
import time
from concurrent import futures

import grpc
import pytest
import tensorflow as tf

from tests.support.paths import PROJECT

pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api (extra `serving`)")

from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, regression_pb2

TensorProto = type(tf.make_tensor_proto(0))
ROWS = "user,age,length\nann,7,2.5\nbob,8,3\n"
VECTOR, MATRIX = ({"dim": [{"size": "-1"}] * rank} for rank in (1, 2))
INPUTS = {
    "user": {"dtype": "DT_STRING", "tensor_shape": VECTOR},
    "age": {"dtype": "DT_INT64", "tensor_shape": VECTOR},
    "length": {"dtype": "DT_FLOAT", "tensor_shape": VECTOR},
}
OUTPUTS = {"pctr": {"dtype": "DT_FLOAT", "tensor_shape": VECTOR}}
SIGNATURE = {"inputs": INPUTS, "outputs": OUTPUTS}
CANDIDATES = {"length": {"dtype": "DT_FLOAT", "tensor_shape": MATRIX}}
DEFINITIONS = {
    "serving_default": SIGNATURE,
    "rank": {
        "inputs": INPUTS | CANDIDATES,
        "outputs": {"pctr": {"dtype": "DT_FLOAT", "tensor_shape": MATRIX}},
    },
    "named": {
        "inputs": INPUTS,
        "outputs": {"name": {"dtype": "DT_STRING", "tensor_shape": VECTOR}},
    },
    "regress_ctr": {
        "inputs": {"inputs": {"dtype": "DT_STRING", "tensor_shape": VECTOR}},
        "outputs": {"outputs": {"dtype": "DT_FLOAT", "tensor_shape": VECTOR}},
    },
}


def metadata(definitions):
    found = json_format.ParseDict(
        {"signature_def": definitions}, get_model_metadata_pb2.SignatureDefMap()
    )
    answer = get_model_metadata_pb2.GetModelMetadataResponse()
    answer.metadata["signature_def"].Pack(found)
    return answer.SerializeToString()


def predicted(**outputs):
    made = {
        name: given if isinstance(given, TensorProto) else tf.make_tensor_proto(given)
        for name, given in outputs.items()
    }
    return predict_pb2.PredictResponse(outputs=made).SerializeToString()


def tensor(**fields):
    return TensorProto(**fields)


def shaped(*sizes):
    return {"dim": [{"size": size} for size in sizes]}


class Server(grpc.GenericRpcHandler):
    """Answers every call with given bytes, or a status."""

    def __init__(self):
        self.answers = {}

    def service(self, call):
        answer = self.answers[call.method.rpartition("/")[2]]

        def reply(_, context):
            if isinstance(answer, grpc.StatusCode):
                context.abort(answer, "so it is")
            if callable(answer):
                return answer()
            return answer

        return grpc.unary_unary_rpc_method_handler(reply)


@pytest.fixture(scope="module")
def serving():
    handler = Server()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((handler,))
    handler.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield handler
    server.stop(None).wait()


@pytest.fixture
def server(serving):
    serving.answers = {"GetModelMetadata": metadata(DEFINITIONS), "Predict": predicted(pctr=[1, 2])}
    return serving


@pytest.fixture
def run(server, tmp_path, monkeypatch, capfd):
    """Runs a script by gRPC; returns its exit code, output and errors, with what gRPC prints."""
    monkeypatch.syspath_prepend(str(PROJECT / "export"))
    path = tmp_path / "rows.csv"
    path.write_text(ROWS, encoding="utf-8")

    def run(script, *flags):
        load = [f"--csv={path}", "--warm_up=1", "--max_requests=2", "--json"]
        given = [str(path)] if script == "client" else load
        module = importlib.import_module(script)
        code = module.main([*given, f"--grpc={server.target}", "--timeout=5", *flags])
        return code, *capfd.readouterr()

    return run


both = pytest.mark.parametrize("script", ["client", "load_test"])


@both
def test_what_is_right_ends_with_zero(run, script):
    code, output, errors = run(script)
    assert (code, errors) == (0, "")
    assert output == "pctr\n1\n2\n" if script == "client" else '"OK": 2' in output


def of_other_metadata(content, key="signature_def", kind=None):
    answer = get_model_metadata_pb2.GetModelMetadataResponse()
    answer.metadata[key].value = content
    name = kind or get_model_metadata_pb2.SignatureDefMap.DESCRIPTOR.full_name
    answer.metadata[key].type_url = f"type.googleapis.com/{name}"
    return answer.SerializeToString()


def of_input(**changed):
    inputs = INPUTS | {"age": INPUTS["age"] | changed}
    return metadata({"serving_default": SIGNATURE | {"inputs": inputs}})


DESCRIBED = {
    "nothing": (b"", 1, "metadata: found nothing, expected signature_def"),
    "something else": (of_other_metadata(b"", "graph"), 1, "metadata: found graph, expected"),
    "another message": (
        of_other_metadata(b"", kind="a.b"),
        1,
        "found signature_def, expected signature_def, a SignatureDefMap",
    ),
    "broken": (of_other_metadata(b"\xff\xff"), 1, "metadata: cannot be parsed"),
    "no message": (b"\xff\xff\xff", 1, "GetModelMetadata: INTERNAL"),
    "no signatures": (metadata({}), 2, "signature serving_default: not found"),
    "no inputs": (metadata({"serving_default": {"outputs": OUTPUTS}}), 1, "found no inputs"),
    "no outputs": (metadata({"serving_default": {"inputs": INPUTS}}), 1, "found no outputs"),
    "no dtype": (of_input(dtype="DT_INVALID"), 1, "dtype of input age of signature"),
    "half": (of_input(dtype="DT_HALF"), 2, "input age: is DT_HALF, expected one of"),
    "not found": (grpc.StatusCode.NOT_FOUND, 1, "GetModelMetadata: NOT_FOUND: so it is"),
    "of another kind": (grpc.StatusCode.UNIMPLEMENTED, 1, "UNIMPLEMENTED: so it is"),
    "not there": (grpc.StatusCode.UNAVAILABLE, 3, "UNAVAILABLE: so it is"),
}


@pytest.mark.parametrize(("reply", "code", "message"), DESCRIBED.values(), ids=DESCRIBED)
@both
def test_metadata_that_is_none(run, server, caplog, script, reply, code, message):
    server.answers["GetModelMetadata"] = reply
    found, output, errors = run(script)
    assert (found, output) == (code, "")
    assert message in errors
    assert not caplog.records  # which would be stack traces


def rank(values):
    return predicted(pctr=values)


ANSWERS = {
    "nothing": (b"", "answer: output pctr: found none"),
    "no message": (b"\xff\xff\xff", "Predict: INTERNAL"),
    "another output": (predicted(pcvr=[1.0, 2.0]), "answer: output pctr: found pcvr"),
    "texts": (predicted(pctr=["a", "b"]), "line 2: pctr: found 'a', expected a number"),
    "booleans": (predicted(pctr=[True, True]), "line 2: pctr: found True, expected a number"),
    "complex": (predicted(pctr=[1j, 2j]), "line 2: pctr: found 1j, expected a number"),
    "too few": (predicted(pctr=[1.0]), "pctr: found a list of 1, expected a list of 2, one a row"),
    "too many": (predicted(pctr=[1.0] * 3), "pctr: found a list of 3, expected a list of 2"),
    "none": (predicted(pctr=tf.constant([], tf.float32)), "pctr: found a list of 0"),
    "a scalar": (predicted(pctr=1.0), "pctr: found 1.0, expected a list of 2"),
    "a matrix": (predicted(pctr=[[1.0], [2.0]]), "line 2: pctr: found [1.0], expected a number"),
    "no dtype": (predicted(pctr=tensor(tensor_shape=shaped(2))), "pctr: cannot be parsed"),
    "a dtype to come": (predicted(pctr=tensor(dtype=999)), "pctr: cannot be parsed"),
    "too few bytes": (
        predicted(pctr=tensor(dtype=1, tensor_shape=shaped(2), tensor_content=b"1234")),
        "pctr: cannot be parsed",
    ),
    "a shape below 0": (
        predicted(pctr=tensor(dtype=1, tensor_shape=shaped(-1), float_val=[1.0, 2.0])),
        "pctr: cannot be parsed",
    ),
    "a shape beyond memory": (
        predicted(pctr=tensor(dtype=1, tensor_shape=shaped(10**9, 10**9), float_val=[1.0])),
        "pctr: found shape [1000000000, 1000000000]",
    ),
    "refused": (grpc.StatusCode.INVALID_ARGUMENT, "Predict: INVALID_ARGUMENT: so it is"),
    "overloaded": (grpc.StatusCode.RESOURCE_EXHAUSTED, "Predict: RESOURCE_EXHAUSTED: so it is"),
    "an error in the server": (lambda: 1 / 0, "UNKNOWN: Exception calling application"),
}


@pytest.mark.parametrize(("reply", "message"), ANSWERS.values(), ids=ANSWERS)
@both
def test_an_answer_that_is_none(run, server, caplog, script, reply, message):
    server.answers["Predict"] = reply
    code, output, errors = run(script)
    assert code == 1, errors
    assert message in errors
    assert not caplog.records  # which would be stack traces
    if script == "client":
        assert output == ""
        assert "rows.csv:2-3: " in errors


OF_OTHER_SIGNATURES = {
    "rank without its axis": ("rank", rank([1.0, 2.0]), "found a list of 2, expected a list of 1"),
    "rank of too many": ("rank", rank([[1.0, 2.0]]), "found a list of 2, expected a list of 1"),
    "numbers for texts": ("named", predicted(name=[1.0, 2.0]), "found 1.0, expected a text"),
    "regress of too few": ("regress_ctr", b"", "outputs: found a list of 0, expected a list of 2"),
}


@pytest.mark.parametrize(
    ("signature", "reply", "message"), OF_OTHER_SIGNATURES.values(), ids=OF_OTHER_SIGNATURES
)
@both
def test_an_answer_of_another_signature_that_is_none(
    run, server, script, signature, reply, message
):
    server.answers |= {"Predict": reply, "Regress": reply}
    code, _, errors = run(script, f"--signature={signature}", "--request_column=user")
    assert code == 1, errors
    assert message in errors


def test_texts_are_printed_as_by_rest(run, server):
    server.answers["Predict"] = predicted(name=["bø".encode(), b"\xff"])
    code, output, _ = run("client", "--signature=named", "--output=jsonl")
    assert (code, output) == (0, '{"name": "bø"}\n{"name": "\ufffd"}\n')


def test_regressions(run, server):
    answer = regression_pb2.RegressionResponse()
    for value in (0.5, 0.25):
        answer.result.regressions.add(value=value)
    server.answers["Regress"] = answer.SerializeToString()
    assert run("client", "--signature=regress_ctr")[:2] == (0, "outputs\n0.5\n0.25\n")


def test_no_answer_in_time(run, server):
    server.answers["Predict"] = lambda: time.sleep(0.3) or predicted(pctr=[1.0, 2.0])
    code, _, errors = run("client", "--timeout=0.15")
    assert code == 3
    assert "DEADLINE_EXCEEDED" in errors


def test_a_load_counts_answers_by_status(run, server):
    server.answers["Predict"] = grpc.StatusCode.RESOURCE_EXHAUSTED
    code, output, errors = run("load_test", "--max_requests=5", "--concurrency=2")
    assert code == 1
    assert '"RESOURCE_EXHAUSTED": 5' in output
    assert "first error: 127.0.0.1" in errors


def test_a_load_that_is_refused_for_what_it_asks_ends_early(run, server):
    server.answers["Predict"] = grpc.StatusCode.INVALID_ARGUMENT
    flags = ("--max_requests=20", "--concurrency=1", "--most_refusals=3", "--warm_up=0")
    code, output, errors = run("load_test", *flags)
    assert code == 4
    assert '"INVALID_ARGUMENT": 3' in output
    assert "stopped: 3 requests in a row were refused" in errors


def test_a_load_by_grpc_takes_no_bodies_and_a_server_on_this_machine(run, server, tmp_path, capfd):
    load_test = importlib.import_module("load_test")
    with pytest.raises(SystemExit):
        load_test.main([f"--grpc={server.target}", "--requests=bodies.json"])
    assert "--requests and --grpc: found both" in capfd.readouterr().err
    assert load_test.main(["--grpc=192.0.2.1:8500", f"--csv={tmp_path / 'rows.csv'}"]) == 2
    assert "--grpc: found 192.0.2.1, expected this machine" in capfd.readouterr().err
