import pytest
from conftest import weights


def shares(run):
    return {name.split("/")[1]: value for name, value in run.result["last"].items() if name.startswith("sparsity/")}


@pytest.mark.parametrize("threshold", ["0.0", "1e-3", "0.02"])
def test_it_is_the_share_of_weights_up_to_the_threshold(train, threshold):
    run = train("data.num_images=64", "test=false", "logger=none", f"callbacks.sparsity.threshold={threshold}")
    for layer, share in shares(run).items():
        weight = weights(run.path)[f"network.{layer}.weight"].flatten().tolist()
        assert share == pytest.approx(sum(abs(w) <= float(threshold) for w in weight) / len(weight), abs=1e-7)


def test_with_a_threshold_of_zero_only_exact_zeros_count(train):
    zeros = ("model.init=normal", "model.init_std=0.0", "optim.lr=1e-12", "callbacks.sparsity.threshold=0.0")
    run = train("data.num_images=64", "test=false", "logger=none", *zeros)
    assert shares(run)["hidden1"] == 1.0


def test_l1_drives_it_up_and_more_of_it_further(train):
    options = ("trainer.max_epochs=4", "test=false", "logger=none", "callbacks.early_stopping=null")
    without, some, more = (
        shares(train(*options, *penalty))["hidden1"]
        for penalty in ((), ("penalty=l1", "penalty.weight=1e-3"), ("penalty=l1", "penalty.weight=1e-2"))
    )
    assert without < 0.05 < 0.2 < some < more
