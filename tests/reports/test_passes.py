"""What a run says of its passes over train."""

from lt4rec_tf.reports.passes import SMALL_LOG, Passes, advice

ONE = {"hard_sharing": Passes(1, 1)}


def test_one_pass_over_a_small_log_is_said():
    [line] = advice(ONE, most=1, steps=32)
    assert line.startswith("one pass of 32 steps was taken over train")
    assert "--epochs=6 --search_epochs=6 --patience=1" in line
    assert advice(ONE, most=1, steps=SMALL_LOG) == []
    assert advice({}, most=1, steps=32) == []


def test_models_whose_last_pass_was_the_best_want_more():
    passes = {"a": Passes(3, 3), "b": Passes(3, 2), "c": Passes(3, 3)}
    [line] = advice(passes, most=3, steps=9999)
    assert line.startswith("a, c: the last of 3 passes was the best on validation")
    assert "--epochs=6 " in line


def test_models_whose_first_pass_was_the_best_want_smaller_steps():
    passes = {"a": Passes(2, 1), "b": Passes(3, 2)}
    [line] = advice(passes, most=4, steps=32)
    assert line.startswith("a: the first pass was the best on validation; a smaller")


def test_a_training_that_patience_ended_says_nothing():
    assert advice({"a": Passes(4, 3)}, most=6, steps=32) == []
