"""Which model is exported where none is named."""

import pytest

from lt4rec_tf.core import artifacts
from lt4rec_tf.experiment.paths import CHOICE, model_folder, stage_folder
from lt4rec_tf.experiment.trained_models import default_model
from lt4rec_tf.training.stage import finish
from tests.support.training import small_settings


def trained(folder, model, *scores):
    """Leaves what a stage leaves that had these scores, pass by pass."""
    stage = stage_folder(folder, model)
    stage.mkdir(parents=True)
    records = [
        {
            "epoch": epoch,
            "train_loss": {},
            "validation_loss": {},
            "validation": {},
            "score": score,
        }
        for epoch, score in enumerate(scores)
    ]
    best = max(range(len(scores)), key=lambda epoch: scores[epoch])
    result = {
        "best_epoch": best,
        "validation": {},
        "validation_loss": {},
        "seconds": 1.0,
        "history": records,
    }
    finish(stage, result)


def exported(schema, folder, models, *flags):
    return default_model(small_settings(f"--models={models}", *flags), schema, folder)


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ("base", "base_cvr"),
        ("s_weight,mmoe", "s_weight"),
        ("mmoe,s_weight,s_gates", "s_gates"),
        ("s_weight,s_weight_auto", "s_weight_auto"),
        ("s_weight,csmf", "s_weight"),
    ],
)
def test_before_anything_is_trained_it_is_the_first_of_sparse_sharing_or_the_last_model(
    small_schema, tmp_path, models, expected
):
    assert exported(small_schema, tmp_path, models) == expected


def test_of_sparse_sharing_validation_chooses_by_the_best_pass(small_schema, tmp_path):
    models = "mmoe,s_weight,s_gates"
    trained(tmp_path, "mmoe", -0.1)
    trained(tmp_path, "s_gates", -0.9, -0.7, -0.8)
    assert exported(small_schema, tmp_path, models) == "s_gates"  # one is not trained yet
    trained(tmp_path, "s_weight", -0.9, -0.65)
    assert exported(small_schema, tmp_path, models) == "s_weight"
    assert exported(small_schema, tmp_path, "s_gates,s_joint") == "s_gates"
    trained(tmp_path, "s_joint", -0.7)
    assert exported(small_schema, tmp_path, "s_joint,s_gates") == "s_gates"  # of equal ones


@pytest.mark.parametrize("flags", [["--split=none", "--warm_start=runs/a"], ["--masks=runs/a"]])
def test_where_nothing_validates_or_a_run_goes_on_from_another_nothing_is_chosen(
    small_schema, tmp_path, flags
):
    trained(tmp_path, "s_gates", -0.7)
    trained(tmp_path, "s_weight", -0.6)
    assert exported(small_schema, tmp_path, "s_weight,s_gates", *flags) == "s_gates"


def test_a_choice_of_sharing_counts_by_what_it_chose(small_schema, tmp_path):
    parent = model_folder(tmp_path, "s_weight_auto")
    trained(tmp_path, "s_gates", -0.7)
    assert exported(small_schema, tmp_path, "s_weight_auto,s_gates") == "s_gates"
    choice = {"chosen": "shared_1_1", "tried": [{"name": "shared_1_1", "seconds": 1.0}]}
    artifacts.write_json(parent / CHOICE, choice)
    trained(tmp_path, "s_weight_auto", -0.6)
    assert exported(small_schema, tmp_path, "s_weight_auto,s_gates") == "s_weight_auto"
