"""A server with one answer to every call, for what a real one seldom says."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DTYPES = {"user": "DT_STRING", "age": "DT_INT64", "length": "DT_FLOAT"}


def described(inputs, outputs, rank=1):
    """A signature as metadata lists it."""
    axis = {"size": "-1", "name": ""}
    shape, vector = ({"dim": [axis] * count, "unknown_rank": False} for count in (rank, 1))
    return {
        "inputs": {name: {"dtype": DTYPES[name], "tensor_shape": shape} for name in inputs},
        "outputs": {name: {"dtype": "DT_FLOAT", "tensor_shape": vector} for name in outputs},
    }


@contextlib.contextmanager
def canned(metadata, status, answer, look=lambda call: None):
    """Yields the address; `look` sees each POST, its `body` read, before it is answered.

    An answer that is a function is called with the request.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            definitions = {"metadata": {"signature_def": {"signature_def": metadata}}}
            self.reply(200, metadata and definitions)

        def do_POST(self):
            self.body = self.rfile.read(int(self.headers["Content-Length"]))
            look(self)
            self.reply(status, answer(json.loads(self.body)) if callable(answer) else answer)

        def reply(self, code, content):
            body = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
