"""Has a worker read parts as a parameter_server run does: whole, of no use, without a file.

A process of its own, because TensorFlow joins a cluster once. Prints the rows of the whole feed and
what an error that is no file's comes out as, then ends as entry points end.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path

import tensorflow as tf

from lt4rec_tf.config.settings import DataSettings
from lt4rec_tf.core.command import exit_on_error
from lt4rec_tf.distributed.parameter_server import compile_reading, take_parts
from lt4rec_tf.experiment.feed import measuring_batches
from tests.support.cluster_processes import free_port
from tests.support.feeds import good_row, line, opened, schema, write_lines

FILES = ("a.csv", "b.csv", "c.csv")


def strategy() -> tf.distribute.Strategy:
    """Of a chief in this process, and a worker and a server in it too."""
    with ExitStack() as held:
        ports = {job: held.enter_context(free_port()) for job in ("chief", "worker", "ps")}
    cluster = {job: [f"127.0.0.1:{port}"] for job, port in ports.items()}
    os.environ["TF_CONFIG"] = json.dumps(
        {"cluster": cluster, "task": {"type": "chief", "index": 0}}
    )
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    for job in ("worker", "ps"):
        tf.distribute.Server(resolver.cluster_spec(), job, 0, protocol="grpc")
    return tf.distribute.ParameterServerStrategy(resolver)


def read_parts(argv: list[str]) -> None:
    """Reads all parts three times."""
    folder = Path(argv[1])
    for first, name in enumerate(FILES):
        rows = [line(good_row(10 * first + number)) for number in range(10)]
        write_lines(folder / name, rows)
    source = opened(schema(folder), folder)[0]
    with strategy().scope():
        given = measuring_batches(source, "train", DataSettings())

        def users(batch):
            return [batch["user"]]

        def refused(batch):
            tf.debugging.assert_less(batch["user"], tf.zeros_like(batch["user"]))
            return users(batch)

        whole = compile_reading(given.open, users, [tf.int64])
        print("rows", sum(len(arrays[0]) for arrays, _ in take_parts(given, whole)))
        try:
            list(take_parts(given, compile_reading(given.open, refused, [tf.int64])))
        except tf.errors.OpError as error:
            print("raised", type(error).__name__)
        (folder / FILES[1]).unlink()
        list(take_parts(given, whole))


if __name__ == "__main__":
    code = exit_on_error(read_parts, sys.argv)
    sys.stdout.flush()
    os._exit(code)  # the servers of this process never end
