import torch

from litmus.results import Results


def test_what_is_logged_goes_to_another_device_with_its_value():
    results = Results(training=True)
    for device in ("cpu", "cpu", "meta"):
        results.log("training_step", "mine", torch.ones((), device=device))
        mine = results["training_step.mine"]
        assert mine.value.device.type == mine.cumulated_batch_size.device.type == device
