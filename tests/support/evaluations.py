"""Tasks and metrics as reports have them."""

from __future__ import annotations

from lt4rec_tf.metrics import amounts, binary, calibration, continuous
from lt4rec_tf.metrics.bootstrap import METRICS

CTR = {"name": "ctr", "kind": "binary", "metric": "auc", "direction": "max", "population": None}
CVR = {
    "name": "cvr",
    "kind": "continuous",
    "metric": "mse",
    "direction": "min",
    "population": "click",
}
OURS = {
    name: getattr(module, name)
    for module in (amounts, binary, calibration, continuous)
    for name in METRICS
    if hasattr(module, name)
}
