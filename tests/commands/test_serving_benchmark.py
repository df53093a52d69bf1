"""Times of requests over sockets, as benchmarks/serving.py takes them where a server is at hand."""

import contextlib
import importlib
import os
import re
import signal
import sys
import textwrap
import time
from concurrent import futures
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.core.errors import InputError
from lt4rec_tf.serving.publish import opened
from tests.serving_stand_in.folders_served import serve_folders
from tests.serving_stand_in.served_sums import save_sums
from tests.support.paths import PROJECT

pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api (extra `serving`)")

from google.protobuf import text_format
from tensorflow_serving.apis import prediction_service_pb2_grpc
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from tests.export_folder.test_client_grpc import PredictionService

INPUTS = {
    "user": np.array(["ann"], object),
    "age": np.array([7]),
    "tags": np.array([[["a", "b"], ["c", ""], ["", ""]]], object),
    "length": np.array([[2.5, 3.0, 0.5]], np.float32),
}


class CountingService(PredictionService):
    """Counts the requests, by the connection that they came over."""

    def __init__(self, *given):
        super().__init__(*given)
        self.peers = []

    def Predict(self, request, context):
        self.peers.append(context.peer())
        return super().Predict(request, context)


@pytest.fixture
def benchmark(monkeypatch):
    for folder in ("benchmarks", "export"):
        monkeypatch.syspath_prepend(str(PROJECT / folder))
    return importlib.import_module("serving")


@pytest.fixture
def sockets(benchmark):
    return importlib.import_module("serving_socket")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_sums(tmp_path_factory.mktemp("models") / "sums")


@pytest.fixture(scope="module")
def served(base):
    """The REST address, the gRPC address and the service of stand-ins that serve `sums`."""
    with contextlib.ExitStack() as stack:
        version = stack.enter_context(opened(base / "1"))
        service = CountingService(version.session, dict(version.signatures))
        server = grpc.server(futures.ThreadPoolExecutor(2))
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        stack.callback(lambda: server.stop(None).wait())
        url = stack.enter_context(serve_folders({"sums": base}))
        yield url, f"127.0.0.1:{port}", service


def test_a_table_of_both_protocols(benchmark, sockets, served):
    url, target, service = served
    service.peers.clear()
    names = {"two": ["sums", "sums"], "one": ["sums"]}
    asked = {3: {"rank": INPUTS}}
    table = benchmark.socket_table(sockets.Addresses(url, target), names, asked, rounds=2)

    header, _, *lines = [re.findall(r"[^|]+", line) for line in table.splitlines()]
    assert [cell.strip() for cell in header] == [
        *["candidates", "model", "gRPC rank, ms", "speed-up", "REST rank, ms", "speed-up"]
    ]
    two, one = ([cell.strip() for cell in line] for line in lines)
    assert (two[:2], one[:2]) == (["3", "two"], ["3", "one"])
    for milliseconds, speed_up in ((2, 3), (4, 5)):
        assert two[speed_up] == "1.00"
        assert float(one[milliseconds]) > 0
        ratio = float(two[milliseconds]) / float(one[milliseconds])
        assert float(one[speed_up]) == pytest.approx(ratio, rel=0.02, abs=0.01)

    # Of each model: one to check, and in each of two turns one before the four that are timed.
    turn = importlib.import_module("serving_calls").TURN
    assert len(service.peers) == 3 * (1 + 2 * (1 + turn))
    assert len(set(service.peers)) == 1


def test_a_call_is_the_request_that_it_was_given(sockets, served):
    url, target, _ = served
    with sockets.connected(sockets.Addresses(url, target)) as clients:
        by_grpc = sockets.rank_call(clients["gRPC"], "sums", INPUTS)()
        _, by_rest = sockets.rank_call(clients["REST"], "sums", INPUTS)()
    score = np.array([[3.072 * 2.5, 3.071 * 3.0, 3.07 * 0.5]], np.float32)
    np.testing.assert_allclose(tf.make_ndarray(by_grpc.outputs["score"]), score, rtol=1e-6)
    found = importlib.import_module("rest").parse("", by_rest)["outputs"]["score"]
    np.testing.assert_allclose(found, score, rtol=1e-6)


def test_a_model_that_is_not_served_is_an_error(sockets, served):
    url, target, _ = served
    errors = importlib.import_module("errors")
    with sockets.connected(sockets.Addresses(url, target)) as clients:
        for client in clients.values():
            with pytest.raises(errors.RefusedError, match="Servable not found"):
                sockets.rank_call(client, "other", INPUTS)


def test_the_configuration_of_several_models(sockets, tmp_path):
    bases = [tmp_path / "s_weight-ctr-cvr", tmp_path / 'quoted "ü"']
    config = text_format.Parse(sockets.config_text(bases), ModelServerConfig())
    found = config.model_config_list.config
    assert [(model.name, model.base_path) for model in found] == [
        (base.name, str(base)) for base in bases
    ]
    assert {model.model_platform for model in found} == {"tensorflow"}


@pytest.fixture
def program(tmp_path):
    """Writes a program in place of tensorflow_model_server; returns its path."""

    def write(code):
        path = tmp_path / "server"
        head = f"#!{sys.executable}\nimport os, sys, time\n"
        flags = "flags = dict(f.removeprefix('--').split('=', 1) for f in sys.argv[1:])\n"
        note = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        path.write_text(head + flags + note + textwrap.dedent(code), encoding="utf-8")
        path.chmod(0o700)
        return str(path)

    return write


def is_ended(folder):
    try:
        os.kill(int((folder / "pid").read_text()), 0)
    except ProcessLookupError:
        return True
    return False


def test_a_server_that_dies_ends_with_its_last_lines(sockets, program, base):
    path = program("""
        print(*range(100), sep="\\n")
        print(flags["max_num_load_retries"], open(flags["model_config_file"]).read())
        sys.exit("1 servable(s) did not become available")
        """)
    with pytest.raises(InputError) as error, sockets.started(path, [base]):
        pass
    message = str(error.value)
    assert message.startswith(f"{path}: ended with 1\n")
    assert message.endswith("\n1 servable(s) did not become available")
    assert (
        f'0 model_config_list {{\n  config {{\n    name: "sums"\n    base_path: "{base}"' in message
    )
    assert "\n99\n" in message
    assert "\n50\n" not in message


def test_a_server_that_is_never_ready_is_ended(sockets, program, base, tmp_path, monkeypatch):
    """It listens, answers nothing, and does not end when it is asked to."""
    monkeypatch.setattr(sockets, "END_SECONDS", 0.1)
    path = program("""
        import signal, socket
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        listening = socket.create_server(("127.0.0.1", int(flags["rest_api_port"])))
        print("loading", flush=True)
        time.sleep(60)
        """)
    begun = time.monotonic()
    with pytest.raises(InputError) as error, sockets.started(path, [base], seconds=0.5):
        pass
    assert time.monotonic() - begun < 30
    message = str(error.value)
    assert message.startswith(f"{path}: not ready after 0.5 seconds (127.0.0.1:")
    assert message.endswith("\nloading")
    assert is_ended(tmp_path)


FORWARD = """
import socket, threading
TARGETS = {targets}

def forward(port, target):
    with socket.create_server(("127.0.0.1", port)) as listening:
        while True:
            ends = listening.accept()[0], socket.create_connection(("127.0.0.1", target))
            for end in ends:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for pair in (ends, ends[::-1]):
                threading.Thread(target=pump, args=pair, daemon=True).start()

def pump(source, sink):
    while data := source.recv(1 << 16):
        sink.sendall(data)
    sink.shutdown(socket.SHUT_WR)

print("serving", flush=True)
time.sleep(0.2)  # in which nobody listens, as while models are loaded
for flag, target in TARGETS.items():
    threading.Thread(target=forward, args=(int(flags[flag]), target), daemon=True).start()
time.sleep(60)
"""


@pytest.fixture
def serving_program(program, served):
    """A program that serves what the stand-ins serve, on the ports that its flags name."""
    url, target, _ = served
    targets = {"rest_api_port": url, "port": target}
    ports = {flag: int(address.rpartition(":")[2]) for flag, address in targets.items()}
    return program(FORWARD.replace("{targets}", repr(ports)))


def test_models_are_timed_while_the_program_serves_them(benchmark, serving_program, base, tmp_path):
    versions = {"two": [base / "1"] * 2, "one": [base / "1"]}
    asked = {3: {"rank": INPUTS}}
    table = benchmark.served_table(serving_program, versions, asked, rounds=1)
    assert [line.split("|")[2].strip() for line in table.splitlines()[2:]] == ["two", "one"]
    assert is_ended(tmp_path)


def test_a_server_that_dies_while_it_is_timed(sockets, serving_program, base, tmp_path):
    def kill_and_call():
        with (
            sockets.started(serving_program, [base]) as addresses,
            sockets.connected(addresses) as clients,
        ):
            call = sockets.rank_call(clients["REST"], "sums", INPUTS)
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
            for _ in range(1000):  # the first ones may be answered while it dies
                call()

    with pytest.raises(InputError) as error:
        kill_and_call()
    assert re.search(r"/server: 127.0.0.1:\d+: no answer \(.*\)\nserving$", str(error.value))


def test_an_error_of_the_benchmark_ends_the_server(sockets, serving_program, base, tmp_path):
    with pytest.raises(ZeroDivisionError), sockets.started(serving_program, [base]):
        _ = 1 / is_ended(tmp_path)
    assert is_ended(tmp_path)


def test_the_program_is_the_named_one_or_the_one_on_path(benchmark, program, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert benchmark.server_program(None) is None
    named = program("")
    assert benchmark.server_program(named) == named
    with pytest.raises(InputError, match="--server: found absent, expected the program"):
        benchmark.server_program("absent")
    on_path = (tmp_path / "tensorflow_model_server").absolute()
    Path(named).rename(on_path)
    assert benchmark.server_program(None) == str(on_path)


def test_a_program_that_cannot_be_started(sockets, tmp_path, base):
    absent = str(tmp_path / "absent")
    with pytest.raises(InputError, match=r"absent: cannot be started \(.*No such file"):
        sockets.started(absent, [base]).__enter__()
