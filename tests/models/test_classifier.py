import csv
import functools
import math

import pytest
import pytorch_lightning as pl
import torch
from conftest import SMALL, composed, option, parts, weights
from torch import nn

from litmus.errors import ConfigError, StoppedRun
from litmus.models import MLP
from litmus.models.optimizers import complete_groups
from litmus.runs import build, build_model


def rows(path):
    with (path / "metrics.csv").open() as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


@pytest.mark.parametrize("optim", ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw"])
def test_a_run_takes_the_same_steps_as_a_loop_written_by_hand(train, optim):
    overrides = (
        f"optim={optim}", "optim.fused=false" if optim != "rmsprop" else "optim.foreach=false",
        "penalty=l2", "penalty.weight=0.01", "scheduler=exponential", "model.dropout=0", "model.input_dropout=0",
    )  # fmt: skip
    cfg = composed(*SMALL, *overrides)
    data = build(cfg.data)
    data.setup()
    torch.manual_seed(cfg.seed)
    model = build_model(cfg, data.num_classes, data.image_shape)
    network = model.network
    optimizer = build(cfg.optim)(network.parameters())
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.95)
    for epoch in range(2):
        loader = data.train_dataloader()
        loader.set_epoch(epoch)
        for images, target in loader:
            optimizer.zero_grad()
            squares = sum(w.square().sum() for name, w in network.named_parameters() if "weight" in name)
            (nn.functional.cross_entropy(network(images), target) + 0.01 * 0.5 * squares).backward()
            optimizer.step()
        decay.step()

    trained = weights(train(*overrides).path)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(trained[f"network.{name}"], value, rtol=1e-4, atol=1e-6)


def test_the_epochs_figures_are_means_over_the_images(train):
    run = train("penalty=l1", "penalty.weight=0.001", "optim.lr=0", "optim=sgd", "scheduler=constant",
                "model.dropout=0", "model.input_dropout=0", "data.batch_size=100", "trainer.max_epochs=1")  # fmt: skip
    cfg = composed(*SMALL)
    data = build(cfg.data)
    data.setup()
    network = nn.Sequential()
    model = MLP(10, (1, 28, 28), hidden=[100, 100], input_dropout=0.0, **parts())
    model.load_state_dict(weights(run.path))
    network = model.network
    (row,) = rows(run.path)
    for part in ("train", "val"):
        images, labels = data.parts[part]
        logits = network(data.preprocess(images))
        assert row[f"{part}/loss"] == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
        assert row[f"{part}/acc"] == pytest.approx((logits.argmax(1) == labels).float().mean().item(), rel=1e-6)
    omega = sum(w.abs().sum().item() for name, w in network.named_parameters() if "weight" in name)
    assert row["penalty"] == pytest.approx(0.001 * omega, rel=1e-5)
    assert row["train/cost"] == pytest.approx(row["train/loss"] + row["penalty"], rel=1e-6)
    images, labels = (of_train[: len(data.parts["val"][1])] for of_train in data.parts["train"])
    accuracy = (network(data.preprocess(images)).argmax(1) == labels).float().mean().item()
    assert row["gap/acc"] == pytest.approx(accuracy - row["val/acc"], abs=1e-6)
    assert row["lr"] == 0


class Peeks(torch.optim.SGD):
    """SGD that also evaluates its closure where all weights are 0, as SAM does at other weights."""

    def step(self, closure=None):
        loss = closure()
        parameters = [p for group in self.param_groups for p in group["params"]]
        before = [(p.detach().clone(), p.grad.clone()) for p in parameters]
        with torch.no_grad():
            torch._foreach_zero_(parameters)
        closure()
        with torch.no_grad():
            for parameter, (weight, gradient) in zip(parameters, before, strict=True):
                parameter.copy_(weight)
                parameter.grad.copy_(gradient)
        super().step()
        return loss


def test_of_several_closures_in_a_step_the_first_is_measured(train):
    options = (
        "optim=sgd",
        "scheduler=constant",
        "logger=none",
        "callbacks=none",
        "model.dropout=0",
        "model.input_dropout=0",
    )
    once = train(*options, "output_dir=once")
    twice = train(*options, "optim._target_=test_classifier.Peeks", "output_dir=twice")
    assert twice.result["last"] == once.result["last"]


@pytest.mark.parametrize(("scheduler", "last"), [("cosine", 0.0), ("onecycle", 2e-3 / 25 / 1e4)])
def test_a_schedule_over_the_run_ends_with_it(train, scheduler, last):
    run = train(f"scheduler={scheduler}", "trainer.max_epochs=3")
    state = torch.load(run.path / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["global_step"] == 3 * math.ceil(461 / 32)
    assert state["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(last, abs=1e-5)  # of 2e-3


def test_onecycle_does_not_give_plain_sgd_a_momentum(train):
    state = torch.load(train("optim=sgd", "scheduler=onecycle").path / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["optimizer_states"][0]["param_groups"][0]["momentum"] == 0


@pytest.mark.trust
def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(train):
    with pytest.raises(StoppedRun, match=r"the loss became (nan|inf) at step \d+ of epoch 1: lower optim.lr"):
        train("optim=sgd", "optim.lr=1e30", "loss=mse", "scheduler=constant")


def test_max_steps_counts_steps(train):
    run = train("trainer.max_steps=20", "trainer.max_epochs=5")
    state = torch.load(run.path / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["global_step"] == 20
    assert run.result["stop_reason"] == "trainer.max_steps=20 reached"


@pytest.mark.trust
@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("optim.lr=-1",), "optim.lr is -1, and must be a number of 0 or more"),
        (("optim=nesterov", "optim.momentum=0"), "optim cannot be built: Nesterov"),
        (("scheduler=step", "scheduler.scheduler.step_size=0"), "scheduler.scheduler.step_size is 0"),
        (("scheduler=onecycle", "scheduler.scheduler.pct_start=2"), "scheduler cannot be built"),
        (("scheduler.interval=day",), "scheduler.interval is 'day'"),
        (("penalty=l1", "penalty.per_layer={hidden7: 1}"), "penalty.per_layer names 'hidden7'"),
    ],
)
def test_an_impossible_part_is_refused_before_a_directory_is_made(train, tmp_path, overrides, sentence):
    with pytest.raises(ConfigError, match=sentence):
        train(*overrides)
    assert list(tmp_path.iterdir()) == []


class ClosureOnly(torch.optim.Optimizer):
    """An optimizer whose step has to be given its closure."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    def step(self, closure):
        assert closure() is not None


@pytest.mark.parametrize("optim", [torch.optim.LBFGS, ClosureOnly])
def test_an_optimizer_that_needs_its_closure_can_be_built(optim):
    groups = {**parts(), "optim": functools.partial(optim, lr=0.1)}
    assert MLP(3, (1, 4, 4), hidden=[], **groups).optim is groups["optim"]


def test_a_loss_of_several_numbers_is_refused():
    def for_each_image(logits, target):
        return nn.functional.cross_entropy(logits, target, reduction="none")

    model = MLP(3, (1, 4, 4), hidden=[], **{**parts(), "loss": for_each_image})
    with pytest.raises(StoppedRun, match=r"gave 5 numbers for a batch.*return their mean"):
        model.loss_terms(torch.randn(5, 1, 4, 4), torch.arange(5) % 3)


class Misbehaves(nn.Module):
    """Cross-entropy, changed by `change` from the eleventh batch on, or when the model is evaluated."""

    def __init__(self, change, in_eval=False):
        super().__init__()
        self.change, self.in_eval, self.batches = change, in_eval, 0

    def forward(self, logits, target):
        loss = nn.functional.cross_entropy(logits, target, reduction="none")
        self.batches += 1
        is_due = not self.training if self.in_eval else self.batches > 10
        return self.change(loss) if is_due else loss.mean()


CHANGES = {
    "a float": (lambda loss: float(loss.mean()), "gave a float"),
    "None": (lambda loss: None, "gave a NoneType"),
    "complex": (lambda loss: loss.mean().to(torch.complex64), "complex64"),
    "a number per image": (lambda loss: loss, "return their mean"),
    "detached": (lambda loss: loss.mean().detach(), "detach()"),
}


@pytest.mark.filterwarnings("ignore")  # Lightning's, of a loader without workers and the like
@pytest.mark.parametrize("in_eval", [False, True], ids=["training", "validation"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_loss_that_misbehaves_later_stops_the_run(change, in_eval):
    if change == "detached" and in_eval:
        return  # as it is there anyway
    function, named = CHANGES[change]
    model = MLP(3, (1, 4, 4), hidden=[], **{**parts(), "loss": Misbehaves(function, in_eval)})
    images = torch.randn(64, 1, 4, 4)
    loader = torch.utils.data.DataLoader([(image, i % 3) for i, image in enumerate(images)], batch_size=4)
    trainer = pl.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    with pytest.raises(StoppedRun) as stopped:
        trainer.fit(model, loader, loader)
    assert named in str(stopped.value)


@pytest.mark.filterwarnings("ignore")
def test_a_schedule_over_data_without_a_length_is_refused():
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter([(torch.randn(1, 4, 4), 0)] * 4)

    model = MLP(3, (1, 4, 4), hidden=[], **parts(scheduler="onecycle"))
    trainer = pl.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    with pytest.raises(ConfigError, match=r"trainer\.max_steps"):
        trainer.fit(model, torch.utils.data.DataLoader(Stream(), batch_size=2))


class OwnStep(MLP):
    def training_step(self, batch, batch_idx):
        images, target = batch
        return nn.functional.cross_entropy(self(images), target)


def test_a_training_step_of_ones_own_keeps_the_training_loss(train, caplog):
    options = (
        *("optim=sgd", "optim.lr=0", "scheduler=constant", "model.input_dropout=0", "model.hidden=[4]"),
        "seed=3",
    )
    usual = train(*options, "output_dir=a").result["metrics"]["train/loss"]
    own = train(*options, f"model._target_={__name__}.OwnStep", "data.val_size=0", "callbacks.early_stopping=null")
    assert own.result["objective_name"] == "train/loss"
    same = train(*options, f"model._target_={__name__}.OwnStep", "output_dir=b")
    assert same.result["metrics"]["train/loss"] == pytest.approx(usual, rel=1e-6)
    assert "train/acc is not measured" in caplog.text


class Scaled(nn.Module):
    """Cross-entropy of the logits times a learned scale."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, logits, target):
        return nn.functional.cross_entropy(self.scale * logits, target)


@pytest.mark.parametrize("model", ["mlp", "resnet"])
def test_parameters_of_a_loss_train_and_resume(train, tmp_path, model):
    size = () if model == "mlp" else ("model.small_stem=true", "data.image_size=8")
    own = option(tmp_path, "loss", f"_target_: {__name__}.Scaled\n")
    options = (*own, f"model={model}", *size, "scheduler=constant", "data.num_images=64")
    whole = weights(train(*options, "output_dir=whole").path)
    assert whole["loss.scale"] != 1
    part = train(*options, "output_dir=part", "trainer.max_epochs=1")
    resumed = train(f"resume={part.path}", "trainer.max_epochs=2", small=False)
    assert all(torch.equal(value, whole[name]) for name, value in weights(resumed.path).items())


def test_a_trainable_weight_in_no_parameter_group_is_named(caplog):
    class HeadOnly(MLP):
        def parameter_groups(self):
            return [{"params": list(self.network[-1].parameters())}]

    model = HeadOnly(3, (1, 4, 4))
    assert len(complete_groups(model, model.parameter_groups())) == 1
    assert "leaves out network." in caplog.text


def one_element(logits, target):
    return nn.functional.cross_entropy(logits, target).reshape(1)


def detached(logits, target):
    return nn.functional.cross_entropy(logits, target).detach()


def a_float(logits, target):
    return nn.functional.cross_entropy(logits, target).item()


def a_pair(logits, target):
    return nn.functional.cross_entropy(logits, target), logits


def test_a_loss_of_one_element_trains_like_a_scalar(train, tmp_path):
    def losses(*options):
        return [row["train/loss"] for row in rows(train("data.num_images=64", *options).path)]

    own = option(tmp_path, "loss", f"_target_: {__name__}.one_element\n_partial_: true\n")
    assert losses(*own, "output_dir=own") == losses("output_dir=plain")


@pytest.mark.parametrize(("loss", "fix"), [(detached, "detach"), (a_float, r"\.item\(\)"), (a_pair, "one tensor")])
def test_a_loss_without_a_gradient_is_refused(loss, fix):
    with pytest.raises(ConfigError, match=fix):
        MLP(3, (1, 4, 4), loss=loss)


class Bare(torch.optim.Optimizer):
    def __init__(self, params):
        super().__init__(params, {})

    def step(self, closure=None):
        pass


def assert_positive(params):
    raise AssertionError("lr must be positive")


@pytest.mark.parametrize(("optim", "fix"), [(Bare, "defaults="), (assert_positive, "lr must be positive")])
def test_an_optimizer_that_cannot_be_used_is_refused(optim, fix):
    with pytest.raises(ConfigError, match=fix):
        MLP(3, (1, 4, 4), optim=optim)


class Normalized(nn.Sequential):
    def __init__(self, num_classes, image_shape):
        super().__init__(nn.Flatten(), nn.Linear(784, 8), nn.BatchNorm1d(8), nn.Linear(8, num_classes))


def test_a_last_batch_of_one_image_is_refused_for_batch_norm(train, tmp_path):
    own = option(tmp_path, "model", f"_target_: {__name__}.Normalized\n")
    with pytest.raises(ConfigError, match=r"data\.batch_size"):
        train(*own, "data.num_images=65", "data.val_size=16", "data.batch_size=16")
