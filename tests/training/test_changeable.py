"""What a stage may not change stays bit for bit, under every optimiser."""

import numpy as np
import pytest

from lt4rec_tf.tickets.free_weights import free_weights
from lt4rec_tf.training.plan import Plan
from tests.support.networks import build_small, read_variables
from tests.support.training import neuron_masks, random_masks, small_trainer


@pytest.mark.parametrize("masks_of", [random_masks, neuron_masks])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimizer": "adagrad", "learning_rate": 0.1},
        {"weight_decay": 2.0, "clip_norm": 0.5},
        {"weight_average": 0.9, "embedding_l2": 0.1},
    ],
    ids=lambda settings: ",".join(settings) or "adam",
)
def test_cvr_trains_what_ctr_does_not_wear_and_ctr_stays(
    small_schema, tmp_path, settings, masks_of
):
    network = build_small(small_schema)
    network.wear("ctr", masks_of(network, "ctr", seed=1))
    before = read_variables(network)
    free = free_weights([network.masks("ctr")])
    changeable = free | {name: np.True_ for name in before if name.startswith("cvr/")}

    trainer = small_trainer(network, small_schema, ["cvr"], changeable=changeable, **settings)
    trainer.fit(tmp_path, "cvr", Plan(epochs=2))

    after = read_variables(network)
    for name, value in after.items():
        places = np.broadcast_to(changeable.get(name, np.False_), value.shape)
        assert value[~places].tobytes() == before[name][~places].tobytes()
    for name in ("tower_0/kernel", "tower_1/kernel", "cvr/head/kernel"):
        places = np.broadcast_to(changeable[name], after[name].shape)
        assert (after[name][places] != before[name][places]).mean() > 0.3
