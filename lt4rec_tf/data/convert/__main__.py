"""Converts logs to TFRecord shards; see `command`."""

from __future__ import annotations

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import sys

from lt4rec_tf.data.convert.command import main

if __name__ == "__main__":
    sys.exit(main())
