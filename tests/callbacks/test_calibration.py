from types import SimpleNamespace

import pytest
import torch

from litmus.callbacks import Calibration
from litmus.callbacks.calibration import binned, expected_error


def after_test(callback, *batches):
    trainer = SimpleNamespace(
        world_size=1, is_global_zero=True, loggers=[], datamodule=SimpleNamespace(name="pets", class_names=["a", "b"])
    )
    callback.on_test_start(trainer, None)
    for p_second, target in batches:
        p = torch.tensor(p_second)
        callback.on_test_batch_end(trainer, None, torch.stack([1 - p, p], dim=1).log(), (None, torch.tensor(target)), 0)
    callback.on_test_epoch_end(trainer, None)


def test_the_expected_calibration_error_by_hand(tmp_path):
    callback = Calibration(bins=10, directory=str(tmp_path))
    # Says 0.95 twice and is right once, 0.75 four times and is right thrice.
    after_test(callback, ([0.95, 0.05, 0.75], [1, 1, 1]), ([0.75, 0.25, 0.25], [1, 0, 1]))
    assert callback.error == pytest.approx((2 * (0.95 - 0.5) + 4 * (0.75 - 0.75)) / 6)
    assert (tmp_path / "calibration.png").exists()


def test_a_model_that_is_right_as_often_as_it_says_has_no_error():
    confidence = torch.full((10,), 0.7)
    assert expected_error(*binned(confidence, torch.arange(10) < 7, bins=15)) == pytest.approx(0, abs=1e-6)


def test_the_ends_of_the_bins_belong_to_the_lower_one():
    counts, sure, correct = binned(torch.tensor([0.5, 0.51, 1.0]), torch.tensor([True, False, True]), bins=2)
    assert counts.tolist() == [1, 2]
    assert sure.tolist() == pytest.approx([0.5, 0.755])
    assert correct.tolist() == [1.0, 0.5]
