import json
import sys
import urllib.request

import pytest
import torch
import torchvision
from conftest import assert_same, parts, weights
from safetensors.torch import save_file

from litmus.data.sources import Synthetic
from litmus.errors import ConfigError
from litmus.models import ResNetFineTuner


def state(classes=10, arch="resnet18"):
    torch.manual_seed(7)
    return getattr(torchvision.models, arch)(num_classes=classes).state_dict()


def built(path, **options):
    torch.manual_seed(8)
    return ResNetFineTuner(10, (3, 32, 32), weights=str(path), **options, **parts())


def written(path, content):
    (save_file if path.suffix == ".safetensors" else torch.save)(content, path)
    return path


def assert_backbone(model, expected):
    assert_same(dict(model.backbone.state_dict()), {k: v for k, v in expected.items() if not k.startswith("fc.")})


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_of_torchvisions_layout_is_taken_whole(tmp_path, suffix):
    model = built(written(tmp_path / f"w.{suffix}", state()))
    assert_backbone(model, state())
    head = model.network.get_submodule("head")
    assert torch.equal(head.weight, state()["fc.weight"])
    assert torch.equal(head.bias, state()["fc.bias"])


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_wrappers_are_removed_with_a_line(tmp_path, prefix, caplog):
    caplog.set_level("INFO", logger="litmus")
    model = built(written(tmp_path / "w.pth", {prefix + name: value for name, value in state().items()}))
    assert_backbone(model, state())
    assert f"removed {prefix.replace('._', '. and _')} from the names" in caplog.text


def test_a_head_of_other_classes_is_new(tmp_path):
    model = built(written(tmp_path / "w.pth", state(classes=1000)))
    assert_backbone(model, state(classes=1000))
    assert model.network.get_submodule("head").weight.shape == (10, 512)


def test_a_file_without_head_or_counters_is_taken(tmp_path):
    old = {k: v for k, v in state().items() if not k.startswith("fc.") and not k.endswith("num_batches_tracked")}
    assert_backbone(built(written(tmp_path / "w.pth", old)), state())


def test_anything_else_that_does_not_fit_is_listed(tmp_path):
    bad = state()
    bad["layer1.0.conv1.weight"] = torch.zeros(1)
    bad["more"] = torch.zeros(2)
    del bad["bn1.bias"]
    with pytest.raises(ConfigError) as refusal:
        built(written(tmp_path / "w.pth", bad))
    assert "does not fit model.arch=resnet18: bn1.bias is absent there and [64] here; " in str(refusal.value)
    assert "layer1.0.conv1.weight is [1] there and [64, 64, 3, 3] here; more is [2] there and absent here" in str(
        refusal.value
    )


def test_another_arch_is_refused(tmp_path):
    path = written(tmp_path / "w.pth", state(arch="resnet34"))
    with pytest.raises(ConfigError, match=r"does not fit model.arch=resnet18: .* and \d+ more; choose another file"):
        built(path)
    assert_backbone(built(path, arch="resnet34"), state(arch="resnet34"))


def test_the_small_stem_takes_only_weights_with_one(tmp_path):
    path = written(tmp_path / "w.pth", state())
    with pytest.raises(
        ConfigError, match=r"there and \[64, 3, 3, 3\] here; set model.small_stem=false, and data.image_size"
    ):
        built(path, small_stem=True)
    small = {**state(), "conv1.weight": torch.randn(64, 3, 3, 3)}
    assert_backbone(built(written(path, small), small_stem=True), small)
    with pytest.raises(ConfigError, match=r"there and \[64, 3, 7, 7\] here; set model.small_stem=true"):
        built(path)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty folder for torch's downloads, and no network."""

    def refuse(*args, **kwargs):
        raise urllib.request.URLError("no network")

    monkeypatch.setattr("torch.hub.urlopen", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "hub" / "checkpoints"


@pytest.mark.parametrize("name", ["DEFAULT", "IMAGENET1K_V1"])
def test_offline_error_names_the_file_and_place_where_it_is_then_found(hub, name):
    with pytest.raises(ConfigError) as refusal:
        built(name)
    assert f"put resnet18-f37072fd.pth into {hub}, or give a file" in str(refusal.value)
    assert "no network" in str(refusal.value)
    assert list(hub.iterdir()) == []
    written(hub / "resnet18-f37072fd.pth", state(classes=1000))
    assert_backbone(built(name), state(classes=1000))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("IMAGENET1K_V3", "neither a file, a run nor a name of torchvision's: did you mean IMAGENET1K_V1"),
        (
            "mine",
            "a run nor a name of torchvision's: for model.arch=resnet18 there are IMAGENET1K_V1, DEFAULT",
        ),
        ("absent.pth", "model.weights=absent.pth does not exist: give a .pth or .safetensors file"),
        ("absent.safetensors", "model.weights=absent.safetensors does not exist"),
    ],
)
def test_a_name_that_is_nothing_is_a_sentence(name, sentence):
    with pytest.raises(ConfigError, match=sentence):
        built(name)


def exported(path, names, classes=10):
    save_file(state(classes), path, {"class_names": names if isinstance(names, str) else json.dumps(names)})
    return path


NAMES = [f"class {i}" for i in range(10)]


@pytest.mark.parametrize("there", [NAMES, NAMES[::-1], NAMES[5:] + NAMES[:5]], ids=["same", "reversed", "rotated"])
def test_the_last_layer_of_a_file_with_class_names_follows_their_order(tmp_path, there):
    model = built(exported(tmp_path / "w.safetensors", there))
    model.last_layer.give(model.head, NAMES)
    rows = [there.index(name) for name in NAMES]
    assert torch.equal(model.head.weight, state()["fc.weight"][rows])
    assert torch.equal(model.head.bias, state()["fc.bias"][rows])


def test_the_last_layer_of_a_file_of_other_class_names_is_new(tmp_path):
    model = built(exported(tmp_path / "w.safetensors", ["kind 0", *NAMES[1:]]))
    fresh = model.head.weight.clone()
    assert not torch.equal(fresh, state()["fc.weight"])
    model.last_layer.give(model.head, NAMES)
    assert torch.equal(model.head.weight, fresh)


@pytest.mark.parametrize("names", ["[" * 10**5, "no list", '{"a": 1}', "[1, 2]", '["cat", "dog"]'])
def test_metadata_that_does_not_name_the_classes_is_ignored(tmp_path, names):
    model = built(exported(tmp_path / "w.safetensors", names))
    assert torch.equal(model.head.weight, state()["fc.weight"])
    assert model.last_layer is None


@pytest.mark.trust
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_damaged_file_is_a_sentence(tmp_path, suffix):
    path = tmp_path / f"w.{suffix}"
    path.write_bytes(b"\0" * 100)
    with pytest.raises(ConfigError, match="use another file"):
        built(path)


@pytest.mark.trust
@pytest.mark.parametrize("content", [{}, {"model": {"a": torch.zeros(1)}}])
def test_another_layout_is_a_sentence(tmp_path, content):
    with pytest.raises(ConfigError, match=r"is not of torchvision's layout, a plain dictionary of tensors"):
        built(written(tmp_path / "w.pth", content))


# --- an earlier run's ---

STILL = ("trainer.max_epochs=1", "optim=sgd", "optim.lr=0", "scheduler=constant", "callbacks=none", "logger=none")
DATA = ("data=synthetic", "data.image_shape=[3,20,20]", "data.num_images=40", "data.batch_size=20", "test=false")
NEW = (*DATA, *STILL, "accelerator=cpu", "model=resnet", "model.freeze=true")


@pytest.fixture
def earlier(train):
    """A run on `class 0` to `class 9`."""
    return train(*DATA, *STILL, "accelerator=cpu", "model=resnet", "seed=5", "output_dir=earlier", small=False).path


def same_but_for(first, second):
    return {name for name in first if not torch.equal(first[name], second[name])}


def test_of_a_run_with_the_same_classes_all_is_taken(train, earlier, caplog):
    caplog.set_level("INFO", logger="litmus")
    new = train(*NEW, f"model.weights={earlier}", small=False).path
    assert same_but_for(weights(earlier, "best"), weights(new)) == set()
    assert "loaded the last layer as well" in caplog.text


def test_of_a_run_with_as_many_other_classes_the_head_is_new(train, earlier, monkeypatch):
    def others(self, *args, **options):
        init(self, *args, **options)
        self.classes = [name.replace("class", "kind") for name in self.classes]

    init = Synthetic.__init__
    monkeypatch.setattr(Synthetic, "__init__", others)
    file = f"{earlier}/checkpoints/best.ckpt"
    new, fresh = (train(*NEW, f"model.weights={w}", small=False).path for w in (file, "null"))
    assert same_but_for(weights(earlier, "best"), weights(new)) == {"network.head.weight", "network.head.bias"}
    assert torch.equal(weights(new)["network.head.weight"], weights(fresh)["network.head.weight"])


def test_of_a_run_with_the_classes_in_another_order_the_head_follows(train, earlier, monkeypatch):
    def backwards(self, *args, **options):
        init(self, *args, **options)
        self.classes = self.classes[::-1]

    init = Synthetic.__init__
    monkeypatch.setattr(Synthetic, "__init__", backwards)
    new = train(*NEW, f"model.weights={earlier}", small=False).path
    name = "network.head.weight"
    assert torch.equal(weights(new)[name], weights(earlier, "best")[name].flip(0))


def test_of_a_run_with_fewer_classes_the_head_is_new(train, earlier):
    new = train(*NEW, "data.num_classes=4", f"model.weights={earlier}", small=False).path
    assert weights(new)["network.head.weight"].shape == (4, 512)
    assert len(same_but_for(weights(earlier, "best"), weights(new))) == 2


def test_a_run_goes_on_with_its_own_head_when_it_is_resumed(train, earlier):
    train(*NEW, f"model.weights={earlier}", "optim.lr=0.1", "output_dir=new", small=False)
    resumed = train("resume=new", "trainer.max_epochs=2", small=False).path
    assert not torch.equal(weights(resumed)["network.head.weight"], weights(earlier)["network.head.weight"])


@pytest.mark.trust
def test_a_run_of_another_model_is_refused(train):
    earlier = train(*STILL, "output_dir=mlp").path
    with pytest.raises(ConfigError, match=r"best.ckpt is a run of another model than resnet"):
        built(earlier)


def test_a_run_of_another_stem_is_refused(earlier):
    with pytest.raises(ConfigError, match=r"does not fit .* set model.small_stem=false"):
        built(earlier, small_stem=True)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="holds no checkpoints/best.ckpt"):
        built(tmp_path)


def test_without_the_package_safetensors_the_error_names_it(tmp_path, monkeypatch):
    path = written(tmp_path / "w.safetensors", state())
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ConfigError, match="needs the package safetensors: pip install safetensors"):
        built(path)
