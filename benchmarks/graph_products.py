"""Time of one product of LightGCN's graph with a table, by each kernel of TensorFlow.

    python benchmarks/graph_products.py --data_dir=DIR

Kernels take turns; medians of the rounds.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import os
import statistics
import time
from pathlib import Path

import scipy.sparse
import tensorflow as tf

from lt4rec_tf.data.public.interactions import read_split
from lt4rec_tf.experiment.lightgcn.model import normalised_adjacency


def main() -> None:
    """Times each kernel and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", type=Path, required=True, help="train.txt and test.txt")
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    flags = parser.parse_args()

    train = read_split(flags.data_dir).train
    matrix = normalised_adjacency(train.users, train.items, train.user_ids, train.item_ids)
    table = tf.random.stateless_normal((matrix.shape[1], flags.dimension), seed=(0, 0))
    rows, columns = tf.unstack(matrix.indices, axis=1)
    indices = (rows.numpy(), columns.numpy())
    by_scipy = scipy.sparse.csr_matrix((matrix.values.numpy(), indices))
    array = table.numpy()

    def compressed() -> tf.Tensor:
        return tf.raw_ops.SparseTensorToCSRSparseMatrix(
            indices=matrix.indices, values=matrix.values, dense_shape=matrix.dense_shape
        )

    def six_products() -> tf.Tensor:
        by_rows, product = compressed(), table
        for _ in range(6):
            product = tf.raw_ops.SparseMatrixMatMul(a=by_rows, b=product)
        return product

    kernels = {
        "by places (sparse_dense_matmul)": lambda: tf.sparse.sparse_dense_matmul(matrix, table),
        "gathered, summed by rows": lambda: tf.math.segment_sum(
            tf.gather(table, columns) * matrix.values[:, tf.newaxis], rows
        ),
        "to compressed rows, and one product": lambda: tf.raw_ops.SparseMatrixMatMul(
            a=compressed(), b=table
        ),
        "to compressed rows, and six products": six_products,
        "SciPy, compressed rows": lambda: by_scipy @ array,
    }
    compiled = {
        name: kernel if name.startswith("SciPy") else tf.function(kernel, autograph=False)
        for name, kernel in kernels.items()
    }

    seconds: dict[str, list[float]] = {name: [] for name in kernels}
    for round_number in range(flags.rounds + 1):
        for name, kernel in compiled.items():
            started = time.perf_counter()
            kernel()
            if round_number:  # the first round traces
                seconds[name].append(time.perf_counter() - started)

    print(f"TensorFlow {tf.__version__}, {os.cpu_count()} cores, {len(rows):,} places")
    print("| product | ms |")
    print("| :-- | --: |")
    for name, times in seconds.items():
        print(f"| {name} | {1000 * statistics.median(times):.0f} |")


if __name__ == "__main__":
    main()
