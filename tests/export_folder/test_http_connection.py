"""The connection that the client and the load test keep to a server."""

import importlib
import select
import shutil
import socket
import ssl
import subprocess
import time

import pytest

from tests.serving_stand_in.raw_server import http, raw_server
from tests.support.paths import PROJECT

with_quick_acks = pytest.mark.skipif(
    not hasattr(socket, "TCP_QUICKACK"), reason="the system has no TCP_QUICKACK"
)


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(PROJECT / "export"))
    return importlib.import_module("http_connection")


@pytest.fixture
def pair():
    """Two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        with client, server:
            yield client, server


def acknowledges_at_once(end):
    return end.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK)


@with_quick_acks
def test_acknowledging_at_once_is_set_again_before_each_read(module, pair):
    client, server = pair
    with module._Reader(client, time.monotonic() + 5) as reader:
        for sent in (b"one", b"two"):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            assert not acknowledges_at_once(client)
            server.sendall(sent)
            buffer = bytearray(8)
            assert buffer[: reader.readinto(buffer)] == sent
            assert acknowledges_at_once(client)


@with_quick_acks
def test_a_server_that_waits_for_acknowledgements_is_not_kept_waiting(module):
    answer = http([0.123456789] * 2000)

    def in_pieces(connection, line, headers, body):
        connection.sendall(answer[:16384])
        connection.sendall(answer[16384:])  # Nagle's algorithm holds it back
        return True

    seconds = []
    with raw_server(in_pieces) as url:
        connection = module.Connection(url, 5)
        for _ in range(20):
            begun = time.perf_counter()
            assert connection.exchange("GET", "/")[0] == 200
            seconds.append(time.perf_counter() - begun)
        connection.close()
    # A new connection acknowledges its first segments at once by itself; a delay is 40 ms.
    assert min(seconds[10:]) < 0.025


class Counted:
    """Answers each request with how many came, and by which connection."""

    def __init__(self, after=lambda connection, count: True):
        self.after, self.connections, self.count = after, [], 0

    def __call__(self, connection, line, headers, body):
        if connection not in self.connections:
            self.connections.append(connection)
        self.count += 1
        connection.sendall(http([self.count, self.connections.index(connection)]))
        return self.after(connection, self.count)


def ask(connection, times):
    return [connection.exchange("POST", "/", b"{}")[1].decode() for _ in range(times)]


def test_requests_share_one_connection(module):
    with raw_server(Counted()) as url:
        connection = module.Connection(url, 5)
        assert ask(connection, 3) == ["[1, 0]", "[2, 0]", "[3, 0]"]
        connection.close()


def wait_for_its_end(connection):
    """Waits until the server has ended a connection that is at rest."""
    assert select.select([connection._http.sock], [], [], 5)[0]


def test_a_connection_that_the_server_has_ended_is_opened_again(module):
    with raw_server(Counted(after=lambda connection, count: count != 1)) as url:
        connection = module.Connection(url, 5)
        assert ask(connection, 1) == ["[1, 0]"]
        wait_for_its_end(connection)
        assert ask(connection, 2) == ["[2, 1]", "[3, 1]"]
        connection.close()


def test_a_connection_that_ends_when_a_request_comes_is_opened_again_once(module):
    def answer(connection, line, headers, body):
        seen.append(connection)
        if len(seen) % 2 == 0 or broken:
            return False  # the request was read, and nothing is answered
        connection.sendall(http(len(seen)))
        return True

    seen, broken = [], False
    with raw_server(answer) as url:
        connection = module.Connection(url, 5)
        assert ask(connection, 2) == ["1", "3"]
        assert seen[0] is seen[1]
        assert seen[1] is not seen[2]

        broken = True
        with pytest.raises(module.NoAnswerError, match="Remote end closed connection"):
            ask(connection, 1)
        assert len(seen) == 5  # on the kept connection, and once on a new one
        with pytest.raises(module.NoAnswerError, match="Remote end closed connection"):
            ask(connection, 1)
        assert len(seen) == 6  # on a new one alone


def test_what_comes_after_an_answer_is_no_answer_to_the_next_request(module):
    def send_late(connection, count):
        time.sleep(0.05)  # when the client has read its answer
        connection.sendall(http("of the past"))
        return True

    with raw_server(Counted(send_late)) as url:
        connection = module.Connection(url, 5)
        assert ask(connection, 1) == ["[1, 0]"]
        wait_for_its_end(connection)
        assert ask(connection, 1) == ["[2, 1]"]
        connection.close()


def test_the_next_address_of_a_host_is_tried(module, monkeypatch):
    with raw_server(Counted()) as url:
        port = int(url.rpartition(":")[2])
        addresses = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
        connection = module.Connection(f"http://feed.example.org:{port}", 5)
        assert ask(connection, 1) == ["[1, 0]"]
        connection.close()
        addresses.clear()
        with pytest.raises(module.NoAnswerError, match="the host has no address"):
            ask(connection, 1)


def test_the_timeout_begins_with_each_request(module):
    with raw_server(Counted()) as url:
        connection = module.Connection(url, 5)
        deadlines = []
        for _ in range(2):
            begun = time.monotonic()
            ask(connection, 1)
            deadlines.append(connection._http.deadline)
            assert begun + 5 <= deadlines[-1] <= time.monotonic() + 5
        assert deadlines[0] < deadlines[1]
        connection.close()


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl to make a certificate")
def test_https(module, tmp_path, monkeypatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command = ["openssl", "req", "-x509", *curve, *names, "-keyout", key, "-out", certificate]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)

    answer = Counted()
    with raw_server(answer, tls) as url:
        with pytest.raises(module.NoAnswerError, match="certificate verify failed"):
            ask(module.Connection(url, 5), 1)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        connection = module.Connection(url, 5)
        assert ask(connection, 3)[-1] == "[3, 0]"
        connection.close()
    silent = raw_server(lambda *_: time.sleep(0.2), tls)
    with silent as url, pytest.raises(module.NoAnswerError, match="timed out"):
        ask(module.Connection(url, 0.1), 1)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://feed.example.org", "feed.example.org", 80),
        ("https://feed.example.org", "feed.example.org", 443),
        ("http://[::1]", "::1", 80),
        ("http://[::1]:8501/behind", "::1", 8501),
    ],
)
def test_addresses(module, url, host, port):
    http = module.Connection(url, 5)._http
    assert (http.host, http.port) == (host, port)
