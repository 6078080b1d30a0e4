from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
import torchvision
from conftest import CONF, assert_same, composed, cut_off, parts, weights
from torch import nn

import litmus
from litmus.errors import ConfigError, StoppedRun
from litmus.models import ResNetFineTuner
from litmus.runs import build, build_model

TINY = (
    "data=synthetic",
    "data.image_shape=[3,20,20]",
    "data.num_images=60",
    "data.val_size=20",
    "data.batch_size=10",
    "model=resnet",
)
SMALL = (*TINY, "callbacks.early_stopping=null", "logger=none", "test=false")
OPTIMIZERS = sorted(path.stem for path in (CONF / "optim").glob("*.yaml"))
QUIET = {"enable_progress_bar": False, "enable_model_summary": False}
SCHEDULERS = sorted(path.stem for path in (CONF / "scheduler").glob("*.yaml"))


@pytest.fixture
def start(tmp_path):
    """A file of weights of torchvision's layout, and what it holds."""
    torch.manual_seed(7)
    state = torchvision.models.resnet18(num_classes=10).state_dict()
    torch.save(state, tmp_path / "start.pth")
    backbone = {name: value for name, value in state.items() if not name.startswith("fc.")}
    return SimpleNamespace(path=tmp_path / "start.pth", backbone=backbone, head=state["fc.weight"])


def backbone(state):
    prefix = "network.backbone."
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def model(image_shape=(3, 32, 32), penalty="none", scheduler="constant", **options):
    return ResNetFineTuner(10, image_shape, **parts(penalty=penalty, scheduler=scheduler), **options)


@pytest.mark.parametrize("optim", OPTIMIZERS)
def test_a_frozen_backbone_stays_to_the_bit(start, optim):
    options = (f"optim={optim}", "optim.weight_decay=0.1", "penalty=l2", "trainer.max_epochs=2", "accelerator=cpu")
    cfg = composed(*SMALL, *options, f"model.weights={start.path}", "model.freeze=true")
    data = build(cfg.data)
    trained = build_model(cfg, data.num_classes, data.image_shape)
    trainer = build(cfg.trainer, _partial_=True)(logger=False, enable_checkpointing=False, **QUIET)
    trainer.fit(trained, datamodule=data)
    assert "val/loss" in trainer.callback_metrics
    assert_same(dict(trained.backbone.state_dict()), start.backbone)
    assert not torch.equal(trained.network.get_submodule("head").weight, start.head)
    assert all(parameter.grad is None for parameter in trained.backbone.parameters())


@pytest.fixture
def history(monkeypatch):
    """Records the weights at each epoch's end and, at each training step, whether the backbone is in eval mode."""
    ended = ResNetFineTuner.on_train_epoch_end
    stepped = ResNetFineTuner.training_step
    record = SimpleNamespace(states=[], eval_modes=[], stepped=stepped)

    def on_train_epoch_end(self):
        record.states.append({name: value.clone() for name, value in self.state_dict().items()})
        ended(self)

    def training_step(self, batch, batch_idx):
        modes = {module.training for module in self.backbone.modules()}
        assert len(modes) == 1
        record.eval_modes.append(modes == {False})
        return stepped(self, batch, batch_idx)

    monkeypatch.setattr(ResNetFineTuner, "on_train_epoch_end", on_train_epoch_end)
    monkeypatch.setattr(ResNetFineTuner, "training_step", training_step)
    return record


def test_after_unfreeze_at_epoch_every_weight_and_statistic_moves(train, start, history):
    train(
        *SMALL,
        "trainer.max_epochs=3",
        f"model.weights={start.path}",
        "model.freeze=true",
        "model.unfreeze_at_epoch=2",
    )
    first, second, third = (backbone(state) for state in history.states)
    assert_same(first, start.backbone)
    assert_same(second, start.backbone)
    assert [name for name in third if torch.equal(third[name], second[name])] == []
    assert history.eval_modes == 8 * [True] + 4 * [False]


@pytest.mark.parametrize(("epoch", "said"), [(1, False), (2, True)])
def test_a_run_that_ends_before_it_unfreezes_says_so(train, caplog, epoch, said):
    with caplog.at_level("INFO", "litmus"):
        train(*SMALL, "trainer.max_epochs=2", "model.freeze=true", f"model.unfreeze_at_epoch={epoch}")
    assert ("trainer.max_epochs=2 ends before model.unfreeze_at_epoch=2 is reached" in caplog.text) is said


def test_stage_by_stage_from_the_top_each_trains_from_its_own_epoch_on(train, start, history, monkeypatch):
    monkeypatch.setattr(ResNetFineTuner, "training_step", history.stepped)  # a mode for each stage
    options = ("trainer.max_epochs=7", "data.num_images=20", "data.val_size=10", "optim=sgd", "scheduler=constant")
    stages = ("model.freeze=true", "model.unfreeze_at_epoch=1", "model.unfreeze_every=1")
    train(*SMALL, *options, *stages, f"model.weights={start.path}")
    states = [backbone(state) for state in history.states]
    moved = [
        {name.split(".")[0] for name in after if not torch.equal(before[name], after[name])}
        for before, after in zip([start.backbone, *states], states, strict=False)
    ]
    top = ["layer4", "layer3", "layer2", "layer1"]
    assert moved == [set(), *({*top[:i]} for i in (1, 2, 3, 4)), *2 * [{*top, "conv1", "bn1"}]]


def test_two_epochs_to_a_stage():
    staged = model(freeze=True, unfreeze_at_epoch=3, unfreeze_every=2)
    assert [staged.stages_at(epoch) for epoch in range(14)] == [0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5]


def test_frozen_normalization_is_in_eval_mode_the_rest_in_train_mode():
    staged = model(freeze=True, unfreeze_at_epoch=1, unfreeze_every=1)
    staged._train_stages(2)
    staged.train()
    norms = {name.split(".")[0]: m.training for name, m in staged.backbone.named_modules() if "bn" in name}
    assert norms == {"bn1": False, "layer1": False, "layer2": False, "layer3": True, "layer4": True}
    staged.eval()
    assert not any(m.training for m in staged.modules())


@pytest.mark.trust
@pytest.mark.parametrize(
    ("optim", "unfrozen_at", "every", "killed_at"),
    [("momentum", 1, "null", 2), ("adam", 1, 1, 2), ("adam", 2, "null", 1)],
)
def test_resume_around_unfreezing_is_bit_exact(train, monkeypatch, optim, unfrozen_at, every, killed_at):
    options = (
        *SMALL,
        f"model.unfreeze_every={every}",
        "trainer.max_epochs=3",
        "model.freeze=true",
        f"model.unfreeze_at_epoch={unfrozen_at}",
    )
    options += (
        f"optim={optim}",
        "model.backbone_lr_factor=0.5",
        "penalty=l1",
        "data.augment.shift=2",
        "data.augment.flip=true",
    )
    whole = train(*options, "output_dir=whole").path
    cut_off(train, monkeypatch, killed_at, *options, "output_dir=killed")
    resumed = train("resume=killed", small=False).path
    assert_same(weights(whole), weights(resumed))
    assert (whole / "metrics.csv").read_text() == (resumed / "metrics.csv").read_text()


def test_a_penalty_counts_the_head_alone_while_the_backbone_is_frozen():
    frozen = model(penalty="l1", freeze=True)
    head = frozen.network.get_submodule("head").weight
    weight = frozen.penalty.weight
    torch.testing.assert_close(frozen.penalty(frozen.network), weight * head.abs().sum())
    frozen._train_stages(5)
    convolutions = [m.weight for m in frozen.backbone.modules() if isinstance(m, nn.Conv2d)]
    everything = sum(w.abs().sum() for w in [head, *convolutions])
    torch.testing.assert_close(frozen.penalty(frozen.network), weight * everything)


def test_all_parameters_are_in_the_optimizers_groups_from_the_start():
    frozen = model(freeze=True, backbone_lr_factor=0.1)
    first, last = frozen.parameter_groups()
    assert (first["name"], last["name"]) == ("backbone", "head")
    assert len(first["params"]) + len(last["params"]) == len(list(frozen.parameters()))
    assert not any(p.requires_grad for p in first["params"])
    assert all(p.requires_grad for p in last["params"])


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_backbones_learning_rate_is_its_factor_of_the_heads_all_along(scheduler):
    scheduled = model(freeze=True, backbone_lr_factor=0.25, scheduler=scheduler)
    scheduled.trainer = pl.Trainer(
        max_epochs=10, max_steps=10, accelerator="cpu", logger=False, enable_checkpointing=False
    )
    made = scheduled.configure_optimizers()
    for step in range(10):
        backbone, head = (group["lr"] for group in made["optimizer"].param_groups)
        assert backbone == pytest.approx(0.25 * head)
        if step < 9:
            made["optimizer"].step()
            made["lr_scheduler"]["scheduler"].step(*([1.0] if scheduler == "plateau" else []))


@pytest.mark.parametrize("arch", ["resnet18", "resnet34", "resnet50"])
def test_it_computes_what_torchvisions_network_does(tmp_path, arch):
    theirs = getattr(torchvision.models, arch)(num_classes=10).eval()
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    ours = model(arch=arch, weights=str(tmp_path / "w.pth")).eval().double()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs.double()(images))


def test_a_gray_image_is_repeated_to_three_channels():
    gray = model(image_shape=(1, 32, 32)).eval()
    image = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(gray(image), gray(image.repeat(1, 3, 1, 1)))


def test_the_small_stem_keeps_the_size():
    stem = model(small_stem=True).backbone
    image = torch.randn(2, 3, 32, 32)
    assert stem.maxpool(stem.conv1(image)).shape == (2, 64, 32, 32)
    assert stem.layer4(stem.layer3(stem.layer2(stem.layer1(stem.conv1(image))))).shape == (2, 512, 4, 4)


@pytest.mark.parametrize("channels_last", [True, False])
def test_channels_last_reaches_the_convolutions(channels_last):
    weight = model(channels_last=channels_last).backbone.layer1[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) is channels_last


def test_resume_is_exact_for_old_channels_last_runs_of_one_pixel(train, monkeypatch):
    """Its optimizer's averages lie in memory otherwise than the weights do now."""
    options = (*SMALL, "trainer.max_epochs=2")
    whole = train(*options, "output_dir=whole").path
    cut_off(train, monkeypatch, 1, *options, "output_dir=killed")
    file = next(Path.cwd().rglob("killed/checkpoints/last.ckpt"))
    checkpoint = torch.load(file, weights_only=True)
    turned = 0
    for state in checkpoint["optimizer_states"][0]["state"].values():
        if state["exp_avg"].shape == (512, 512, 3, 3):
            assert state["exp_avg"].is_contiguous()
            state["exp_avg"] = state["exp_avg"].contiguous(memory_format=torch.channels_last)
            turned += 1
    assert turned == 3
    torch.save(checkpoint, file)
    assert_same(weights(whole), weights(train("resume=killed", small=False).path))


def test_a_run_is_loaded_without_the_file_its_weights_came_from(train, start):
    path = train(*SMALL, f"model.weights={start.path}", "model.freeze=true").path
    start.path.unlink()
    trained = litmus.load(path)
    assert_same(dict(trained.model.state_dict()), weights(path, "best"))
    assert not trained.model.training
    assert trained(torch.zeros(2, 3, 20, 20, dtype=torch.uint8)).shape == (2, 10)


def test_an_earlier_runs_weights_go_on_unfrozen(train, start):
    frozen = train(*SMALL, f"model.weights={start.path}", "model.freeze=true", "trainer.max_epochs=1").path
    going_on = (f"model.init_from={frozen}", "trainer.max_epochs=1", "optim=sgd", "optim.lr=0", "scheduler=constant")
    unfrozen = weights(train(*SMALL, *going_on).path)
    parameters = [k for k in unfrozen if "running" not in k and "num_batches" not in k]
    assert_same({k: unfrozen[k] for k in parameters}, {k: weights(frozen, "best")[k] for k in parameters})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"arch": "resnet81"}, "model.arch is 'resnet81', which does not exist: did you mean resnet18?"),
        ({"unfreeze_at_epoch": 2}, "model.unfreeze_at_epoch has nothing to unfreeze; set model.freeze=true"),
        ({"freeze": True, "unfreeze_at_epoch": 0}, "model.unfreeze_at_epoch is 0, and must be a whole number of 1"),
        ({"freeze": True, "unfreeze_every": 1}, "model.unfreeze_every needs a start; set model.unfreeze_at_epoch=1"),
        ({"freeze": True, "unfreeze_at_epoch": 1, "unfreeze_every": 0}, "model.unfreeze_every is 0"),
        ({"backbone_lr_factor": -0.1}, "model.backbone_lr_factor is -0.1, and must be a number of 0 or more"),
        ({"weights": "DEFAULT", "init_from": "a"}, "model.weights and model.init_from both say"),
        ({"image_shape": (4, 32, 32)}, "takes gray or color images, and these have 4 channels"),
        (
            {"image_shape": (3, 16, 32)},
            "halves images 5 times, and 16×32 pixels are too few; set model.small_stem=true",
        ),
        ({"image_shape": (3, 4, 4), "small_stem": True}, "halves images 3 times, and 4×4 pixels are too few"),
    ],
)
def test_mistakes_are_sentences(options, sentence):
    with pytest.raises(ConfigError, match=sentence.replace("?", r"\?")):
        model(**options)


@pytest.mark.parametrize(("side", "small_stem"), [(17, False), (5, True)])
def test_the_smallest_images_train(side, small_stem):
    smallest = model(image_shape=(3, side, side), small_stem=small_stem)
    loss = smallest(torch.randn(2, 3, side, side)).sum()
    loss.backward()


def test_a_batch_of_one_image_is_refused_for_batch_norm(train):
    with pytest.raises(StoppedRun, match=r"choose a data.batch_size that leaves no single image over"):
        train(*SMALL, "data.batch_size=13")
    train(*SMALL, "data.batch_size=13", "model.freeze=true", "trainer.max_epochs=1")
