"""One HTTP connection that is kept between requests; the standard library alone.

The server writes long answers in pieces of 16 KiB and waits for the acknowledgement of a piece
before it sends the next. A kernel that delays acknowledgements adds about 40 ms, so they are
asked for at once where the system can (TCP_QUICKACK), before each read: Linux resets the option.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import re
import select
import socket
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any

from errors import NoAnswerError

PIECE = 1 << 16
MOST_BYTES = 1 << 30  # of an answer
VISIBLE = re.compile(r"[!-~]+")


class Connection:
    """A connection to a server, which opens at its first request; for one thread at a time.

    It goes straight to the host that the address names: no proxy, no redirect.

    Args:
        url: "http://host:port" or "https://host:port"; a path in it is not used.
        timeout: Seconds for a whole exchange: connecting, sending, and the answer to its end. The
            look-up of the host's name is not bounded by it.

    Raises:
        ValueError: Not such an address.
    """

    def __init__(self, url: str, timeout: float) -> None:
        address = split_address(url)
        self._http = _Http(address, secure=address.scheme == "https")
        self._timeout = timeout

    def exchange(
        self,
        method: str,
        path: str,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """Sends one request and reads its answer.

        A connection that the server ended between two requests is opened again, once. Requests
        change nothing on the server, so one that may have reached it can be sent again.

        Returns:
            The status and the body.

        Raises:
            NoAnswerError: No server, no whole answer, or not in time.
        """
        self._http.deadline = time.monotonic() + self._timeout
        all_headers = {"Content-Type": "application/json"} | dict(headers or {})
        request = (method, path, content, all_headers)
        try:
            kept = self._http.is_kept()
            try:
                response = self._http.begin(*request)
            except ConnectionError:
                if not kept:
                    raise
                self._http.close()
                response = self._http.begin(*request)
            with response:
                return response.status, _read(response)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            place = f"{self._http.host}:{self._http.port}"
            raise NoAnswerError(f"{place}: no answer ({error or type(error).__name__})") from error

    def close(self) -> None:
        """Ends the connection; the next request opens it again."""
        self._http.close()


def split_address(url: str) -> urllib.parse.SplitResult:
    """Splits the address of a server.

    Raises:
        ValueError: Not an address of http or https, or with parts that would not be used.
    """
    expected = "http://host:port or https://host:port"
    try:
        address = urllib.parse.urlsplit(url)
        host = (address.hostname or "").encode("idna").decode("ascii")
        port = address.port
    except ValueError as error:
        raise ValueError(f"found {url}, expected {expected} ({error})") from error

    if address.scheme not in ("http", "https") or not VISIBLE.fullmatch(host) or port == 0:
        raise ValueError(f"found {url}, expected {expected}")
    if address.path and not VISIBLE.fullmatch(address.path):
        raise ValueError(f"found {url}, expected a path of visible ASCII characters")
    if address.query or address.fragment or "@" in address.netloc:
        raise ValueError(f"found {url}, expected no user, query or fragment")
    return address


class _Http(http.client.HTTPConnection):
    """HTTP over one socket, whose every wait ends at one deadline."""

    deadline = 0.0

    def __init__(self, address: urllib.parse.SplitResult, secure: bool) -> None:
        self._context = _tls() if secure else None
        self.default_port = http.client.HTTPS_PORT if secure else http.client.HTTP_PORT
        super().__init__(address.hostname, address.port or self.default_port)

    def is_kept(self) -> bool:
        """Returns whether a connection is open and at rest; drops one that is not.

        Where there is something to read before a request was sent, the server has ended the
        connection, or sent more than its last answer.
        """
        if self.sock is not None and select.select([self.sock], [], [], 0)[0]:
            self.close()
        return self.sock is not None

    def begin(
        self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        """Sends a request and reads the head of its answer."""
        self.request(method, path, content, headers)
        return self.getresponse()

    def connect(self) -> None:
        self.sock = _open_socket(self.host, self.port, self.deadline)
        if self._context is not None:
            self.sock.settimeout(_seconds_left(self.deadline))
            self.sock = self._context.wrap_socket(self.sock, server_hostname=self.host)

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        self.sock.settimeout(_seconds_left(self.deadline))
        super().send(data)

    def response_class(self, sock: socket.socket, method: str) -> http.client.HTTPResponse:
        response = http.client.HTTPResponse(sock, method=method)
        response.fp.close()
        response.fp = io.BufferedReader(_Reader(sock, self.deadline), PIECE)
        return response


class _Reader(io.RawIOBase):
    """Reads a socket until a deadline and has what arrived acknowledged at once."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock, self._deadline = sock, deadline
        self._file = sock.makefile("rb", buffering=0)  # keeps the socket open for as long

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_seconds_left(self._deadline))
        acknowledge_at_once(self._sock)
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


def acknowledge_at_once(sock: socket.socket) -> None:
    """Sets TCP_QUICKACK where the system has it; without it answers come all the same."""
    if hasattr(socket, "TCP_QUICKACK"):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _tls() -> Any:
    import ssl  # absent from some builds of Python, which http does without

    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _open_socket(host: str, port: int, deadline: float) -> socket.socket:
    """Connects to the first address of a host that takes it, within shares of the time left."""
    failure = OSError("the host has no address")
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for position, (family, kind, protocol, _, address) in enumerate(addresses):
        opened = socket.socket(family, kind, protocol)
        try:
            opened.settimeout(_seconds_left(deadline) / (len(addresses) - position))
            opened.connect(address)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return opened
        except OSError as error:
            opened.close()
            failure = error
    raise failure


def _seconds_left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _read(response: http.client.HTTPResponse) -> bytes:
    """Reads a body to its end, in pieces: a false Content-Length takes no memory."""
    body = bytearray()
    while piece := response.read(PIECE):
        body += piece
        if len(body) > MOST_BYTES:
            raise http.client.HTTPException(f"longer than {MOST_BYTES} bytes")
    if response.length:
        raise http.client.IncompleteRead(bytes(body), response.length)
    return bytes(body)
