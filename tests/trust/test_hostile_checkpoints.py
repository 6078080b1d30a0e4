"""A checkpoint from a stranger runs nothing but networks of known libraries, and takes bounded memory and time."""

import copy
import os
import zipfile
from contextlib import suppress

import pytest
import torch
from conftest import SMALL, snapshot
from hostile import MODELS, WRITE, WRITTEN, limited, node, process_state, refuse
from picture_files import picture

import litmus
from litmus.core.checkpoint_io import CHECKPOINT_KEY
from litmus.errors import ConfigError

pytestmark = pytest.mark.trust

QUICK = ("trainer.max_epochs=1", "logger=none", "callbacks=none", "model.hidden=[8]")


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """What is in best.ckpt of a real run."""
    path = tmp_path_factory.mktemp("run")
    cfg = litmus.compose(*SMALL, *QUICK, f"output_dir={path}/run")
    litmus.train(cfg)
    return torch.load(path / "run" / "checkpoints" / "best.ckpt", weights_only=True)


@pytest.fixture
def save(contents, tmp_path, monkeypatch):
    """Saves the checkpoint with a change, given as a function of its config and its contents."""
    monkeypatch.chdir(tmp_path)

    def write(change, name="hostile.ckpt"):
        changed = copy.deepcopy(contents)
        change(changed[CHECKPOINT_KEY]["config"], changed)
        torch.save(changed, tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A module that leaves a file if it is imported; it came with the checkpoint, in its folder."""
    (tmp_path / "hostile_module.py").write_text(f"open({str(tmp_path / WRITTEN)!r}, 'w')\nclass Network: pass\n")
    monkeypatch.setenv("SECRET", "hunter2")
    return tmp_path


@pytest.fixture
def refused(capsys, trap, script):
    """Asserts that the action is refused, as a command, without any effect. Returns the sentence."""
    return lambda action: refuse(capsys, action, trap)


@pytest.mark.parametrize("name", MODELS)
def test_a_network_that_is_no_network_is_refused(save, refused, name):
    file = save(lambda config, _: config.update(model=MODELS[name]))
    refused(lambda: litmus.load(file))


@pytest.mark.parametrize("group", ["loss", "penalty", "optim", "scheduler", "data", "callbacks", "logger", "trainer"])
def test_what_a_network_does_not_need_is_not_built(save, trap, group):
    file = save(lambda config, _: config.update({group: WRITE}))
    before = snapshot(trap)
    assert litmus.load(file)(torch.zeros(1, 1, 28, 28, dtype=torch.uint8)).shape == (1, 10)
    assert snapshot(trap) == before


@pytest.mark.parametrize("value", ["${oc.env:SECRET}", "${oc.decode:'[8]'}", "${now:%Y}", "${seed}"])
def test_an_interpolation_is_not_evaluated(save, refused, value):
    file = save(lambda config, _: config["model"].update(activation=value))
    assert "hunter2" not in refused(lambda: litmus.load(file))


def _huge(config, _):
    config["model"]["hidden"] = [10**9, 10**9]


def _deep(config, _):
    config["model"]["hidden"] = [1] * 1_000_000


def _copies(config, _):
    """A billion layers without weights."""
    layer = {"_target_": "torch.nn.Identity"}
    config["model"] = {"_target_": "torch.nn.TransformerEncoder", "encoder_layer": layer, "num_layers": 10**9}


def _other_channels(config, contents):
    contents[CHECKPOINT_KEY].update(mean=torch.zeros(3), std=torch.ones(3))


def _huge_image(config, contents):
    contents[CHECKPOINT_KEY]["image_shape"] = [1, 10**6, 10**6]


def _expanded(config, contents):
    name = next(iter(contents["state_dict"]))
    contents["state_dict"][name] = torch.zeros(1).expand(10**6, 10**6)


def _in_itself(kind):
    value = kind()
    value.append(value) if kind is list else value.update(a=value)
    return value


def _doubled(times):
    value = [1]
    for _ in range(times):
        value = [value, value]
    return value


ODD = {  # values that torch.save can store
    "a list in itself": _in_itself(list),
    "a dictionary in itself": _in_itself(dict),
    "a list doubled 40 times": _doubled(40),
    "a bytearray": bytearray(8),
    "bytes": b"abc",
    "a set": {1},
    "a tuple": (8,),
    "a complex number": 1j,
    "a tensor": torch.zeros(2),
    "a dtype": torch.float32,
    "a number of 10,000 digits": [10**10_000],
    "a long text": "x" * 10**6,
    "not a number": [float("nan")],
    "a tuple for a key": {(1, 2): 3},
    "nothing for a key": {None: 3},
}


@pytest.mark.parametrize("name", ODD)
def test_a_value_of_an_odd_type_is_refused(save, refused, name):
    file = save(lambda config, _: config["model"].update(hidden=ODD[name]))
    refused(lambda: litmus.load(file))


DAMAGE = {
    "a huge layer": _huge,
    "a million layers": _deep,
    "a billion layers without weights": _copies,
    "three means for one channel": _other_channels,
    "a huge image": _huge_image,
    "an expanded tensor": _expanded,
    "no config": lambda config, contents: contents[CHECKPOINT_KEY].update(config=None),
    "a list for a config": lambda config, contents: contents[CHECKPOINT_KEY].update(config=[1]),
    "a number for a model": lambda config, _: config.update(model=3),
    "class names of a number": lambda config, contents: contents[CHECKPOINT_KEY].update(class_names=3),
    "a mean of text": lambda config, contents: contents[CHECKPOINT_KEY].update(mean="0"),
    "a shape of text": lambda config, contents: contents[CHECKPOINT_KEY].update(image_shape="abc"),
    "a negative size": lambda config, contents: contents[CHECKPOINT_KEY].update(image_size=-1),
    "a state of numbers": lambda config, contents: contents.update(state_dict={"a": 1}),
    "class names in themselves": lambda config, contents: contents[CHECKPOINT_KEY].update(class_names=_in_itself(list)),
    "a state in itself": lambda config, contents: contents.update(state_dict=_in_itself(dict)),
    "another pipeline": lambda config, contents: contents[CHECKPOINT_KEY].update(pipeline="os.system"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_an_impossible_value_takes_no_memory_and_one_sentence(save, refused, name):
    file = save(DAMAGE[name])
    refused(lambda: litmus.load(file))


def _zip_bomb(save, folder):
    file = save(lambda config, contents: contents["state_dict"].update(a=torch.zeros(2**24)))
    bomb = folder / "bomb.ckpt"
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as small:
        for part in archive.infolist():
            small.writestr(part.filename, archive.read(part))
    assert bomb.stat().st_size < file.stat().st_size / 50
    return bomb


def _pipe(save, folder):
    os.mkfifo(folder / "pipe.ckpt")
    return folder / "pipe.ckpt"


def _link(save, folder):
    (folder / "link.ckpt").symlink_to("/dev/zero")
    return folder / "link.ckpt"


class _Call:
    def __reduce__(self):
        return open, (WRITTEN, "w")


FILES = {  # hostile whatever it is used for
    "a zip bomb": _zip_bomb,
    "a pipe": _pipe,
    "a link to a device": _link,
    "a pickled call": lambda save, _: save(lambda config, contents: contents.update(a=_Call())),
    "a bytearray": lambda save, _: save(lambda config, contents: config.update(a=bytearray(8))),
    "an expanded tensor": lambda save, _: save(_expanded),
    "a state of numbers": lambda save, _: save(DAMAGE["a state of numbers"]),
    "a state in itself": lambda save, _: save(DAMAGE["a state in itself"]),
}
MLP = ("data=synthetic", *QUICK, "output_dir=new")
RESNET = (*MLP[:-2], "model=resnet", "model.small_stem=true", "output_dir=new")
USES = {  # each takes script, train and the file
    "load": lambda script, train, file: litmus.load(file),
    "evaluate": lambda script, train, file: script("evaluate.py", file),
    "predict": lambda script, train, file: script("predict.py", file, "image.png"),
    "export": lambda script, train, file: script("export.py", file, "--format", "safetensors"),
    "init_from": lambda script, train, file: train(*MLP, f"model.init_from={file}"),
    "weights": lambda script, train, file: train(*RESNET, f"model.weights={file}"),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", FILES)
def test_every_use_of_a_hostile_file_is_refused(save, refused, script, train, tmp_path, name, use):
    file = FILES[name](save, tmp_path)
    refused(lambda: USES[use](script, train, file))


BUILT = {"load": ["model"], "evaluate": ["model", "loss", "data"], "predict": ["model"], "export": ["model"]}


@pytest.mark.parametrize("value", [WRITE, node("torch.nn.Sequential", ODD["a list in itself"])], ids=["write", "cycle"])
@pytest.mark.parametrize(("use", "group"), [(use, group) for use in BUILT for group in BUILT[use]])
def test_scripts_build_nothing_untrusted(save, refused, script, train, use, group, value):
    file = save(lambda config, _: config.update({group: value}))
    refused(lambda: USES[use](script, train, file))


@pytest.mark.parametrize("use", ["predict", "export", "init_from", "weights"])
def test_what_is_not_needed_is_not_built(save, trap, script, train, use):
    groups = ("loss", "data", "callbacks", *(["model"] if use in ("init_from", "weights") else []))
    file = save(lambda config, _: config.update(dict.fromkeys(groups, WRITE)))
    picture(trap / "image.png", 5)
    before = process_state()
    with limited(), suppress(ConfigError):  # a ResNet has no use for the weights of an MLP
        USES[use](script, train, file)
    assert process_state() == before
    assert WRITTEN not in os.listdir(trap)


def test_a_model_of_your_own_elsewhere_is_built_if_trusted(contents, save, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "their_model.py").write_text("from litmus.models import MLP\n\n\nclass Theirs(MLP):\n    pass\n")
    monkeypatch.syspath_prepend(elsewhere)
    file = save(lambda config, _: config["model"].update(_target_="their_model.Theirs"))
    with pytest.raises(ConfigError, match="--trust their_model"):
        litmus.load(file)
    assert type(litmus.load(file, trust=["their_model"]).model).__name__ == "Theirs"


@pytest.mark.parametrize("option", [{"_args_": ["DEFAULT"]}, {"pretrained": 1.0}])
def test_nothing_is_downloaded(save, monkeypatch, option):
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", lambda *_, **__: pytest.fail("a download"))
    inner = {**node("torchvision.models.resnet18"), **option}
    with pytest.raises(ConfigError):
        litmus.load(save(lambda config, _: config.update(model=node("torch.nn.Sequential", inner))))


def test_a_module_beside_the_checkpoint_is_not_imported(save, trap, monkeypatch):
    monkeypatch.syspath_prepend(trap)
    file = save(lambda config, _: config.update(model=node("hostile_module.Network")))
    with pytest.raises(ConfigError):
        litmus.load(file)
    assert WRITTEN not in os.listdir(trap)
