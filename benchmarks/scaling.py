"""Examples per second of 1, 2 and 4 workers on this machine, and the bytes that they exchange.

    python benchmarks/scaling.py

Real processes on the loopback interface, each bound to one core: up to as many workers as there are
cores each have their own, more share them, and servers share them with workers. 20 single-valued
fields, random ids from memory, CTR and CVR. "alone" is one process without a strategy. Bytes are
those that the loopback interface counts meanwhile. From bytes and step times follows, for a network
of --gbit, what workers on machines of their own would reach; that column is computed, not measured.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from lt4rec_tf.core.command import make_deterministic

KINDS = ("none", "multi_worker", "parameter_server")
SERVERS = 2
WARM = 3  # rounds that are not counted


def main() -> None:
    """Measures every kind with every number of workers, prints the table."""
    flags = parse()
    if flags.task:
        work(flags)
        return
    print(f"{os.cpu_count()} cores, batch {flags.batch} a worker, {20 * flags.rows:,} rows\n")
    results = [("none", 1, measured("none", 1, flags))]
    for kind in KINDS[1:]:
        results += [(kind, count, measured(kind, count, flags)) for count in flags.workers]
    print_table(results, flags)


def parse() -> argparse.Namespace:
    """Parses the flags of the benchmark and of its processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rows", type=int, default=10_000, help="embedding rows of a field")
    parser.add_argument("--batch", type=int, default=4096, help="rows of a worker's batch")
    parser.add_argument("--steps", type=int, default=10, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gbit", type=float, default=10.0, help="of the network computed for")
    parser.add_argument("--kind", choices=KINDS, default="none", help=argparse.SUPPRESS)
    parser.add_argument("--task", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def measured(kind: str, workers: int, flags: argparse.Namespace) -> tuple[float, float]:
    """Returns the median seconds of a step of all workers, and the bytes that it sends."""
    jobs = {
        "none": {"worker": 1},
        "multi_worker": {"worker": workers},
        "parameter_server": {"chief": 1, "worker": workers, "ps": SERVERS},
    }[kind]
    cluster: dict[str, list[str]] = {}
    with ExitStack() as sockets:  # all at once, so that no port comes twice
        for job, count in jobs.items():
            cluster[job] = [f"127.0.0.1:{free_port(sockets)}" for _ in range(count)]

    with tempfile.TemporaryDirectory() as logs:
        processes = []
        for job, addresses in cluster.items():
            for index in range(len(addresses)):
                processes.append(start(kind, cluster, job, index, Path(logs), flags))
        speaker = processes[0]  # the coordinator, or the first worker
        try:
            text = speaker.communicate()[0]
        finally:
            for process in processes:
                process.kill()
                process.wait()
        if speaker.returncode or not text:
            errors = "".join(path.read_text()[-2000:] for path in Path(logs).iterdir())
            sys.exit(f"{kind}, {workers} workers: found no end\n{errors}")

    rounds = json.loads(text.splitlines()[-1])
    seconds, sent = zip(*rounds[WARM:], strict=True)
    return statistics.median(seconds), statistics.median(sent)


def start(
    kind: str,
    cluster: dict[str, list[str]],
    job: str,
    index: int,
    logs: Path,
    flags: argparse.Namespace,
) -> subprocess.Popen:
    """Starts one task of a cluster."""
    tf_config = json.dumps({"cluster": cluster, "task": {"type": job, "index": index}})
    command = [
        sys.executable, str(Path(__file__).resolve()), f"--kind={kind}", f"--task={job}:{index}",
        f"--rows={flags.rows}", f"--batch={flags.batch}",
        f"--steps={flags.steps}", f"--rounds={flags.rounds}",
    ]  # fmt: skip
    with (logs / f"{job}_{index}").open("w") as log:
        return subprocess.Popen(
            command,
            env=os.environ | ({} if kind == "none" else {"TF_CONFIG": tf_config}),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )


def free_port(sockets: ExitStack) -> int:
    """Returns a port that is reserved until the stack ends."""
    reserved = sockets.enter_context(socket.socket())
    reserved.bind(("127.0.0.1", 0))
    return reserved.getsockname()[1]


def work(flags: argparse.Namespace) -> None:
    """Trains, or serves, in a process of its own; one prints [seconds, bytes] per round."""
    job, _, index = flags.task.partition(":")
    if job != "chief":
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(index) % len(cores)]})
    from feeds import wide_schema

    from lt4rec_tf.config.parse import parse
    from lt4rec_tf.distributed import cluster

    argv = ["train", "--schema=s", "--data_dir=d", f"--distribution={flags.kind}"]
    settings, _ = parse(argv, "")
    make_deterministic()
    schema = wide_schema(flags.rows)
    if cluster.is_server(flags.kind):
        cluster.serve(Path("never"))

    rounds = []
    with cluster.joined(flags.kind, settings.training.shard_mib):
        take = rounds_of(schema, flags)
        for _ in range(WARM + flags.rounds):
            before, begun = loopback_bytes(), time.perf_counter()
            take()
            seconds = time.perf_counter() - begun
            sent = loopback_bytes() - before
            rounds.append([seconds / flags.steps, sent / flags.steps])
        print(json.dumps(rounds), flush=True)


def rounds_of(schema, flags):
    """Returns a function that has every worker take `steps` steps."""
    import tensorflow as tf
    from networks import joint_step, random_batches, wide_network

    from lt4rec_tf.distributed.parameter_server import Pass, compile_part, take_parts
    from lt4rec_tf.distributed.replicas import this_process, workers_of_servers

    network = wide_network(schema)
    step = joint_step(network, schema)
    batches = random_batches(schema, flags.rows, flags.batch)
    if flags.kind == "parameter_server":
        whole = tf.nest.map_structure(lambda *parts: tf.stack(parts), *batches)

        def opened(part: tf.Tensor, seeds: tf.Tensor) -> tf.data.Dataset:
            return tf.data.Dataset.from_tensor_slices(whole).repeat().take(flags.steps)

        train_part = compile_part(opened, [step], network.tasks)
        parts = tuple(range(workers_of_servers()))
        data = Pass(opened, parts, (1.0,) * len(parts), [0, 0], fault=lambda _: None)
        return lambda: [*take_parts(data, train_part)]
    first = this_process().index

    def take() -> None:
        for index in range(flags.steps):
            losses = step(batches[(first + index) % len(batches)])
        _ = [float(loss) for loss in losses.values()]

    return take


def loopback_bytes() -> int:
    """Returns the bytes that the loopback interface has carried."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    return int(next(line for line in lines if line.strip().startswith("lo:")).split()[1])


def print_table(results: list, flags: argparse.Namespace) -> None:
    """Prints one line per measurement; the last column is computed."""
    from lt4rec_tf.reports.text_tables import markdown_table

    seconds_alone = results[0][2][0]
    alone = flags.batch / seconds_alone
    header = [
        "distribution", "workers", "ms a step", "examples/s", "of alone", "MB sent a step",
        f"of alone on machines of their own at {flags.gbit:g} Gbit/s, computed",
    ]  # fmt: skip
    lines = []
    for kind, workers, (seconds, sent) in results:
        rate = workers * flags.batch / seconds
        mb = sent / 1e6
        computed = computed_rate(seconds_alone, sent, kind, workers, flags) / alone
        lines.append(
            [kind, str(workers), f"{1000 * seconds:.0f}", f"{rate:,.0f}", f"{rate / alone:.2f}",
             f"{mb:.1f}", f"{computed:.2f}"]
        )  # fmt: skip
    print(markdown_table(header, lines, texts=1))


def computed_rate(
    alone: float, sent: float, kind: str, workers: int, flags: argparse.Namespace
) -> float:
    """Returns examples per second if computing takes as long as alone and bytes leave one by one.

    The busiest line counts: a worker's own share, or a server's.
    """
    senders = {"none": 1, "multi_worker": workers, "parameter_server": min(workers, SERVERS)}[kind]
    seconds = alone + sent * 8 / senders / (flags.gbit * 1e9)
    return workers * flags.batch / seconds


if __name__ == "__main__":
    main()
