"""A server that answers with given bytes, for answers that no HTTP library writes."""

import contextlib
import json
import socket
import threading
import time

END = b"\r\n\r\n"


def http(body, status="200 OK", *headers, length=None):
    """An answer in bytes; a body that is no bytes is written as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    size = len(content) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {size}", *headers]
    return "\r\n".join(lines).encode("latin-1") + END + content


@contextlib.contextmanager
def raw_server(answer, tls=None):
    """Yields the address of a server on this machine.

    Args:
        answer: Takes the connection, and a request's line, head and body; it sends what it wants.
            The connection is kept if it returns True, and ended otherwise.
        tls: An SSL context, for https.
    """
    ended = threading.Event()
    threads = []

    def serve(accepted):
        with accepted, contextlib.suppress(OSError):
            wrapped = tls.wrap_socket(accepted, server_side=True) if tls else accepted
            with wrapped as connection:
                kept = True
                while kept and not ended.is_set():
                    request = read_request(connection)
                    kept = request is not None and answer(connection, *request)

    def accept():
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                connection.settimeout(2)
                threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f"http{'s' if tls else ''}://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            for thread in [accepting, *threads]:
                thread.join()


def read_request(connection):
    """A request's line, its head and its body; None where the client has ended the connection."""
    read = b""
    while END not in read:
        piece = connection.recv(1 << 16)
        if not piece:
            return None
        read += piece
    head, _, body = read.partition(END)
    line, *headers = head.decode("latin-1").split("\r\n")
    sizes = [header for header in headers if header.lower().startswith("content-length:")]
    size = int(sizes[0].split(":")[1]) if sizes else 0
    while len(body) < size:
        body += connection.recv(1 << 16)
    return line, headers, body


def trickle(connection, content, seconds, stop_after=2.0):
    """Sends one byte every so many seconds, for a while."""
    end = time.monotonic() + stop_after
    for position in range(len(content)):
        if time.monotonic() > end:
            break
        connection.sendall(content[position : position + 1])
        time.sleep(seconds)
