"""A checkpoint gives the model that was trained, or the run says that it does not."""

import functools
import json

import pytest
import torch
from conftest import CONF, composed, parts
from torch import nn

import litmus
from litmus.errors import ConfigError, StoppedRun
from litmus.models.classifier import Classifier
from litmus.runs.model_building import build_model
from litmus.runs.model_checks import check_model, check_optimizer

NONE = ("logger=none", "callbacks=none", "trainer.max_epochs=1", "output_dir=run")


class Plain(nn.Module):
    """Projects images with a random matrix that is neither a parameter nor a buffer."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.head = nn.Linear(20, num_classes)
        self.projection = torch.randn(784, 20)

    def forward(self, images):
        return self.head(images.flatten(1) @ self.projection)


class PlainList(nn.Module):
    def __init__(self, num_classes: int):
        super().__init__()
        self.head = nn.Linear(20, num_classes)
        self.layers = [nn.Linear(784, 20)]

    def forward(self, images):
        return self.head(self.layers[0](images.flatten(1)))


class NotPersistent(nn.Module):
    def __init__(self, num_classes: int):
        super().__init__()
        self.head = nn.Linear(784, num_classes)
        self.register_buffer("scale", torch.rand(784), persistent=False)

    def forward(self, images):
        return self.head(images.flatten(1) * self.scale)


class RandomWidth(nn.Sequential):
    def __init__(self, num_classes: int):
        width = int(torch.randint(1, 100, ()))
        super().__init__(nn.Flatten(), nn.Linear(784, width), nn.Linear(width, num_classes))


class RunningScale(nn.Module):
    """Divides by a running mean that is a plain number."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.head = nn.Linear(784, num_classes)
        self.scale = 1.0

    def forward(self, images):
        if self.training:
            self.scale += float(images.abs().mean())
        return self.head(images.flatten(1) / self.scale)


class Constant(nn.Module):
    """Keeps a constant tensor, which every construction gives again."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.head = nn.Linear(784, num_classes)
        self.mean = torch.full((784,), 0.5)

    def forward(self, images):
        return self.head(images.flatten(1) - self.mean)


class WeightNorm(nn.Sequential):
    """With tensors that cannot be copied by copy.deepcopy."""

    def __init__(self, num_classes: int):
        super().__init__(nn.Flatten(), torch.nn.utils.weight_norm(nn.Linear(784, num_classes)))


class Lazy(nn.Sequential):
    def __init__(self, num_classes: int):
        super().__init__(nn.Flatten(), nn.LazyLinear(20), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(num_classes))


class Frozen(nn.Sequential):
    def __init__(self, num_classes: int):
        super().__init__(nn.Flatten(), nn.Linear(784, num_classes))
        self.requires_grad_(False)


class WithoutInit(nn.Module):
    def forward(self, images):
        return images.flatten(1)[:, :10]


def config(name, *overrides):
    cfg = composed("data=synthetic", *overrides)
    cfg.model = {"_target_": f"test_model_checks.{name}"}
    return cfg


def run_of(name, *overrides):
    """litmus.train on a few images, with a network of this file."""
    cfg = litmus.compose("data=synthetic", "data.num_images=64", "accelerator=cpu", *NONE, *overrides)
    cfg.model = {"_target_": f"test_model_checks.{name}"}
    return litmus.train(cfg)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.trust
@pytest.mark.parametrize(
    ("name", "attribute"), [("Plain", "projection"), ("PlainList", "layers"), ("NotPersistent", "scale")]
)
def test_values_outside_the_state_dict_are_refused_before_training(name, attribute, tmp_path):
    with pytest.raises(ConfigError, match=rf"state_dict lacks \({attribute}\).*register_buffer"):
        run_of(name)
    assert not (tmp_path / "run").exists()


def test_a_network_of_random_size_is_refused():
    with pytest.raises(ConfigError, match="RandomWidth is built differently each time"):
        run_of("RandomWidth")


@pytest.mark.trust
def test_a_value_that_only_training_changes_ends_the_run_without_a_result(tmp_path):
    with pytest.raises(StoppedRun, match="best.ckpt does not give the model that was trained"):
        run_of("RunningScale")
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_constants_and_unusual_layers_are_rebuilt(tmp_path):
    for name in ("Constant", "Lazy", "WeightNorm"):
        run = run_of(name, f"output_dir={name}")
        assert run.metrics["test/acc"] == json.loads((run.path / "result.json").read_text())["metrics"]["test/acc"]
        assert run.load().class_names == [f"class {number}" for number in range(10)]


def test_the_check_changes_no_random_number_and_no_mode():
    cfg = config("Constant")
    model = build_model(cfg, 10, (1, 28, 28))
    model.network.head.eval()
    expected = torch.get_rng_state()
    check_model(cfg, model, 10, (1, 28, 28))
    assert torch.equal(torch.get_rng_state(), expected)
    assert [model.training, model.network.head.training] == [True, False]


@pytest.mark.parametrize(
    ("name", "sentence"), [("Frozen", "nothing would train"), ("WithoutInit", "nothing would train")]
)
def test_a_network_that_cannot_train_is_refused(name, sentence):
    with pytest.raises(ConfigError, match=sentence):
        run_of(name)


def test_pretrained_weights_of_other_classes_need_another_last_layer():
    cfg = config("Frozen")
    cfg.model = {"_target_": "torchvision.models.resnet18", "weights": "IMAGENET1K_V1"}
    with pytest.raises(ConfigError, match="1000 but got 10.*; .* use model=resnet, or .* replaces its last layer"):
        build_model(cfg, 10, (3, 32, 32))


def test_a_classifier_needs_shapes():
    network = nn.Sequential(nn.Flatten(), nn.LazyLinear(10))
    with pytest.raises(ConfigError, match="network.1.weight has no shape yet"):
        Classifier(network, 10)


class HoldsAnother(torch.optim.SGD):
    """As many implementations of SAM: what steps is an optimizer of its own."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, lr)
        self.base = torch.optim.Adam(self.param_groups, lr)
        self.param_groups = self.base.param_groups

    def step(self, closure=None):
        loss = closure()
        self.base.step()
        return loss


class SavesIt(HoldsAnother):
    def state_dict(self):
        return self.base.state_dict()

    def load_state_dict(self, state_dict):
        self.base.load_state_dict(state_dict)


class SharesIt(HoldsAnother):
    """Loading its state_dict gives it a state of its own, and leaves that of `base` empty."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, lr)
        self.state = self.base.state


@pytest.mark.trust
def test_an_optimizer_that_loses_state_is_not_resumed(caplog):
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    model = Classifier(network, 3, optim=HoldsAnother)
    check_optimizer(model, resumes=False)
    assert "HoldsAnother lacks the state of its base, so this run cannot be resumed" in caplog.text
    with pytest.raises(ConfigError, match="define state_dict and load_state_dict in HoldsAnother"):
        check_optimizer(model, resumes=True)
    caplog.clear()
    for complete in (SavesIt, torch.optim.AdamW):
        check_optimizer(Classifier(network, 3, optim=complete), resumes=True)
    assert not caplog.text


class Counts(torch.optim.SGD):
    """Halves its step every third time, by a counter that its state_dict lacks."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, lr)
        self.steps = 0

    def step(self, closure=None):
        self.steps += 1
        for group in self.param_groups:
            group["lr"] *= 0.5 if self.steps % 3 == 0 else 1.0
        return super().step(closure)


class SlowWeights(torch.optim.SGD):
    """Lookahead (Zhang et al. 2019), whose state_dict lacks the slow weights."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, lr)
        self.slow = [parameter.detach().clone() for group in self.param_groups for parameter in group["params"]]
        self.steps = 0

    def step(self, closure=None):
        loss = super().step(closure)
        self.steps += 1
        if self.steps % 5 == 0:
            for group in self.param_groups:
                for parameter, slow in zip(group["params"], self.slow, strict=True):
                    slow += 0.5 * (parameter.detach() - slow)
                    parameter.data.copy_(slow)
        return loss


@pytest.mark.trust
@pytest.mark.parametrize("kind", [Counts, SlowWeights, SharesIt])
def test_an_optimizer_with_state_in_attributes_is_not_resumed(caplog, kind):
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), 3, optim=kind)
    check_optimizer(model, resumes=False)
    assert f"{kind.__name__} keeps state that its state_dict lacks" in caplog.text
    with pytest.raises(ConfigError, match=f"define state_dict and load_state_dict in {kind.__name__}"):
        check_optimizer(model, resumes=True)


@pytest.mark.parametrize("option", [path.stem for path in sorted((CONF / "optim").glob("*.yaml"))])
def test_every_optimizer_of_conf_keeps_its_state(caplog, option):
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), 3, **parts(optim=option))
    check_optimizer(model, resumes=True)
    assert not caplog.text


@pytest.mark.parametrize("kind", ["LBFGS", "NAdam", "RAdam", "ASGD", "Adamax", "Adadelta", "Rprop"])
def test_optimizers_of_torch_keep_their_state(caplog, kind):
    optim = functools.partial(getattr(torch.optim, kind), lr=0.01)
    check_optimizer(Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), 3, optim=optim), resumes=True)
    assert not caplog.text
