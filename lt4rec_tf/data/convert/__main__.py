"""Converts logs to TFRecord shards; see `command`."""

from __future__ import annotations

from lt4rec_tf.core.command import before_tensorflow
from lt4rec_tf.core.start_lines import compute_once

if __name__ == "__main__":
    before_tensorflow()
    compute_once()

import sys

from lt4rec_tf.data.convert.command import main

if __name__ == "__main__":
    sys.exit(main())
