from pathlib import Path

import pytest
import torch
from conftest import assert_same, weights

from litmus.data.sources import Synthetic
from litmus.errors import ConfigError


@pytest.fixture
def earlier(train):
    return train("output_dir=earlier", "model.hidden=[20,10]").path.absolute()


STILL = ("optim=sgd", "optim.lr=0", "scheduler=constant", "trainer.max_epochs=1")


def test_a_run_starts_from_the_best_weights_of_another(train, earlier):
    run = train(*STILL, "model.hidden=[20,10]", f"model.init_from={earlier}", "seed=5")
    assert_same(weights(run.path), weights(earlier, "best"))


def test_a_checkpoint_file_will_do(train, earlier):
    run = train(*STILL, "model.hidden=[20,10]", f"model.init_from={earlier}/checkpoints/last.ckpt")
    assert_same(weights(run.path), weights(earlier, "last"))


def test_weights_of_a_compiled_network_are_taken(train, earlier):
    checkpoint = torch.load(earlier / "checkpoints" / "best.ckpt", weights_only=True)
    network = checkpoint["state_dict"].items()
    checkpoint["state_dict"] = {name.replace("network.", "network._orig_mod."): value for name, value in network}
    torch.save(checkpoint, "compiled.ckpt")
    run = train(*STILL, "model.hidden=[20,10]", "model.init_from=compiled.ckpt")
    assert_same(weights(run.path), weights(earlier, "best"))


def test_dropout_has_no_weights_to_misfit(train, earlier):
    train(*STILL, "model.hidden=[20,10]", "model.dropout=0.5", f"model.init_from={earlier}")


@pytest.mark.trust
def test_what_does_not_fit_is_listed(train, earlier):
    with pytest.raises(ConfigError) as caught:
        train("model.hidden=[20,30]", f"model.init_from={earlier}")
    assert "hidden2.weight is [10, 20] there and [30, 20] here" in str(caught.value)
    assert "hidden1" not in str(caught.value)
    assert "model.init_strict=false" in str(caught.value)


def test_what_fits_is_taken_when_asked_and_the_rest_named(train, earlier, caplog):
    caplog.set_level("INFO", logger="litmus")
    run = train(*STILL, "model.hidden=[20,30]", f"model.init_from={earlier}", "model.init_strict=false")
    assert torch.equal(weights(run.path)["network.hidden1.weight"], weights(earlier, "best")["network.hidden1.weight"])
    assert "took 3 of 6 tensors" in caplog.text
    assert "hidden2.weight" in caplog.text


def test_a_run_of_the_classes_in_another_order_is_refused(train, earlier, monkeypatch):
    def backwards(self, *args, **options):
        init(self, *args, **options)
        self.classes = self.classes[::-1]

    init = Synthetic.__init__
    monkeypatch.setattr(Synthetic, "__init__", backwards)
    options = ("model.hidden=[20,10]", f"model.init_from={earlier}", "output_dir=new")
    with pytest.raises(
        ConfigError, match=r"has the classes class 0, .* in another order, class 9, .* data\.classes of"
    ):
        train(*options)
    assert not Path("new").exists()


@pytest.mark.trust
@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: None, "does not exist: give a run directory or a checkpoint file"),
        (lambda path: path.mkdir(), "holds no checkpoints/best.ckpt"),
        (lambda path: path.write_bytes(b"rubbish"), "is damaged"),
        (lambda path: torch.save({"a": 1}, path), "is not a Litmus checkpoint"),
        (lambda path: torch.save({"state_dict": {"other": torch.ones(1)}}, path), "does not fit"),
    ],
)
def test_what_is_no_run_is_refused(train, tmp_path, make, sentence):
    make(tmp_path / "thing")
    with pytest.raises(ConfigError, match=sentence):
        train(f"model.init_from={tmp_path / 'thing'}")
