"""The table of a comparison's trials."""

from lt4rec_tf.reports.comparison_trials import trials_table


def tried(trial, passes, score, rate, **more):
    return {"learning_rate": rate, "score": score, "trial": trial, "passes": passes, **more}


MODELS = [
    {
        "row": "base_ctr",
        "chosen": {"learning_rate": "0.002"},
        "candidates": [tried(1, None, 0.7, "0.001"), tried(2, None, 0.75, "0.002")],
    },
    {
        "row": "mmoe",
        "chosen": {"learning_rate": "0.001", "loss_weights": "cvr=3"},
        "candidates": [
            tried(1, 1, 0.0125, "0.001", loss_weights="cvr=3"),
            tried(2, 1, None, "0.002", loss_weights="cvr=1", error="loss is NaN"),
            tried(3, 1, None, "0.003", loss_weights="cvr=1"),
            tried(1, None, 0.02, "0.001", loss_weights="cvr=3"),
        ],
    },
]


def test_a_line_for_each_training_of_a_trial():
    head, _, *lines = trials_table(MODELS).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in (head, *lines)]
    assert cells == [
        ["model", "learning rate", "loss weights", "trial", "passes", "score", "chosen"],
        ["base_ctr", "0.001", "-", "1", "all", "0.70000", ""],
        ["base_ctr", "0.002", "-", "2", "all", "0.75000", "yes"],
        ["mmoe", "0.001", "cvr=3", "1", "1", "0.01250", ""],
        ["mmoe", "0.002", "cvr=1", "2", "1", "failed", ""],
        ["mmoe", "0.003", "cvr=1", "3", "1", "-", ""],
        ["mmoe", "0.001", "cvr=3", "1", "all", "0.02000", "yes"],
    ]
