"""A model's metadata and answers in bytes, which tests change into what they should not be."""

import gzip

from tests.serving_stand_in.canned_server import described
from tests.serving_stand_in.raw_server import http

ROWS = b"user,age,length\nann,7,2.5\nbob,8,3\n"
SIGNATURE = described(["user", "age", "length"], ["pctr", "pcvr"])
RANK = {**SIGNATURE, "inputs": SIGNATURE["inputs"] | described(["length"], [], rank=2)["inputs"]}
RANK_OF_TWO = {
    **SIGNATURE,
    "inputs": SIGNATURE["inputs"] | described(["age", "length"], [], rank=2)["inputs"],
}
DEFINITIONS = {
    "serving_default": SIGNATURE,
    "ctr": described(["user", "age", "length"], ["pctr"]),
    "rank": RANK,
    "regress_ctr": described([], ["outputs"])
    | {"inputs": {"inputs": {"dtype": "DT_STRING", "tensor_shape": {"dim": [{"size": "-1"}]}}}},
}
GOOD = {"outputs": {"pctr": [0.1, 0.2], "pcvr": [1.0, float("nan")]}}


def metadata(definitions):
    return http({"metadata": {"signature_def": {"signature_def": definitions}}})


class Server:
    """Answers about metadata and about rows, each with bytes or a function of the connection."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.described, self.answer = metadata(DEFINITIONS), http(GOOD)

    def __call__(self, connection, line, headers, body):
        reply = self.described if line.startswith("GET") else self.answer
        if callable(reply):
            return reply(connection)
        connection.sendall(reply)
        return b"Content-Length" in reply and b"Connection: close" not in reply


def compressed(content=ROWS):
    return gzip.compress(content)
