"""A checkpoint from a stranger runs nothing but networks of known libraries, and takes bounded memory and time."""

import copy
import os
import zipfile
from contextlib import suppress

import pytest
import torch
from conftest import SMALL, snapshot

import litmus
from litmus.core.checkpoint_io import CHECKPOINT_KEY
from litmus.errors import ConfigError

pytestmark = pytest.mark.trust

QUICK = ("trainer.max_epochs=1", "logger=none", "callbacks=none", "model.hidden=[8]")
WRITTEN = "written"  # the file that a hostile target would write, in the current directory


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


def node(target, *args, **options):
    return {"_target_": target, **({"_args_": list(args)} if args else {}), **options}


PATH = node("pathlib.Path", WRITTEN)
WRITE = node("pathlib.Path.write_text", self=PATH, data="x")
SAVE = node("torch.save", obj=1, f=WRITTEN)

MODELS = {
    "write_text": WRITE,
    "touch": node("pathlib.Path.touch", self=PATH),
    "makedirs": node("os.makedirs", WRITTEN),
    "open": node("builtins.open", WRITTEN, "w"),
    "eval": node("builtins.eval", f"open('{WRITTEN}', 'w')"),
    "popen": node("subprocess.Popen", ["touch", WRITTEN]),
    "system": node("os.system", f"touch {WRITTEN}"),
    "through a library": node("torch.os.system", f"touch {WRITTEN}"),
    "through Litmus": node("litmus.runs.provenance.subprocess.run", ["touch", WRITTEN]),
    "torch.save": SAVE,
    "torch.load": node("torch.load", f="hostile.pt", weights_only=False),
    "torch.hub": node("torch.hub.load", "folder", "model", source="local"),
    "torch.jit": node("torch.jit.load", "hostile.pt"),
    "load_library": node("torch.ops.load_library", "hostile.so"),
    "np.save": node("numpy.save", WRITTEN, [1]),
    "np.memmap": node("numpy.memmap", WRITTEN, mode="w+", shape=[4]),
    "np.load": node("numpy.load", "hostile.npy", allow_pickle=True),
    "pickle": node("pickle.load", node("builtins.open", "hostile.pt", "rb")),
    "import": node("importlib.import_module", "hostile_module"),
    "a module that is imported": node("hostile_module.Network"),
    "Hydra": node("hydra.utils.instantiate", WRITE),
    "write_json of Litmus": node("litmus.core.atomic_files.write_json", WRITTEN, 1),
    "nested": node("torch.nn.Sequential", node("torch.nn.Flatten"), WRITE),
    "nested deep": node("torch.nn.Sequential", node("torch.nn.Sequential", modules=[{"a": SAVE}])),
    "a partial": node("torch.save", 1, WRITTEN, _partial_=True),
    "not a name": {"_target_": ["os.system"]},
    "a call": {"_target_": "os.system('touch written')"},
}


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A module that leaves a file if it is imported; it came with the checkpoint, in its folder."""
    (tmp_path / "hostile_module.py").write_text(f"open({str(tmp_path / WRITTEN)!r}, 'w')\nclass Network: pass\n")
    monkeypatch.setenv("SECRET", "hunter2")
    return tmp_path


@pytest.mark.parametrize("name", MODELS)
def test_a_network_that_is_no_network_is_refused(save, trap, name):
    file = save(lambda config, _: config.update(model=MODELS[name]))
    before = snapshot(trap)
    with pytest.raises(ConfigError) as error:
        litmus.load(file)
    assert "\n" not in str(error.value)
    assert snapshot(trap) == before


@pytest.mark.parametrize("group", ["loss", "penalty", "optim", "scheduler", "data", "callbacks", "logger", "trainer"])
def test_what_a_network_does_not_need_is_not_built(save, trap, group):
    file = save(lambda config, _: config.update({group: WRITE}))
    before = snapshot(trap)
    assert litmus.load(file)(torch.zeros(1, 1, 28, 28, dtype=torch.uint8)).shape == (1, 10)
    assert snapshot(trap) == before


@pytest.mark.parametrize("value", ["${oc.env:SECRET}", "${oc.decode:'[8]'}", "${now:%Y}", "${seed}"])
def test_an_interpolation_is_not_evaluated(save, trap, value):
    file = save(lambda config, _: config["model"].update(activation=value))
    with pytest.raises(ConfigError) as error:
        litmus.load(file)
    assert "hunter2" not in str(error.value)


def _huge(config, _):
    config["model"]["hidden"] = [10**9, 10**9]


def _deep(config, _):
    config["model"]["hidden"] = [1] * 1_000_000


def _huge_image(config, contents):
    contents[CHECKPOINT_KEY]["image_shape"] = [1, 10**6, 10**6]


def _expanded(config, contents):
    name = next(iter(contents["state_dict"]))
    contents["state_dict"][name] = torch.zeros(1).expand(10**6, 10**6)


DAMAGE = {
    "a huge layer": _huge,
    "a million layers": _deep,
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
    "another pipeline": lambda config, contents: contents[CHECKPOINT_KEY].update(pipeline="os.system"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_an_impossible_value_takes_no_memory_and_one_sentence(save, name):
    with pytest.raises(ConfigError) as error:
        litmus.load(save(DAMAGE[name]))
    assert "\n" not in str(error.value)


def test_a_zip_bomb_is_refused(save, tmp_path):
    file = save(lambda config, contents: contents["state_dict"].update(a=torch.zeros(2**24)))
    bomb = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as small:
        for part in archive.infolist():
            small.writestr(part.filename, archive.read(part))
    assert bomb.stat().st_size < file.stat().st_size / 50
    with pytest.raises(ConfigError, match=r"bomb\.ckpt"):
        litmus.load(bomb)


def _script(name, *arguments):
    return lambda script, file: script(name, str(file), *arguments)


ENTRY_POINTS = {
    "evaluate": _script("evaluate.py"),
    "predict": _script("predict.py", "image.png"),
    "export": _script("export.py", "--format", "safetensors"),
}


@pytest.mark.parametrize("entry", ENTRY_POINTS)
@pytest.mark.parametrize("group", ["model", "loss", "data"])
def test_scripts_build_nothing_untrusted(save, trap, script, entry, group):
    file = save(lambda config, _: config.update({group: WRITE}))
    before = set(os.listdir(trap))
    if group == "model" or (entry == "evaluate" and group in ("loss", "data")):
        with pytest.raises((ConfigError, SystemExit)):
            ENTRY_POINTS[entry](script, file)
    assert WRITTEN not in {*before, *os.listdir(trap)}


@pytest.mark.parametrize("option", ["model.init_from", "model.weights"])
def test_initial_weights_build_nothing_untrusted(save, trap, train, option):
    file = save(lambda config, _: config.update(model=WRITE, loss=WRITE))
    model = ("model=resnet", "model.small_stem=true") if option == "model.weights" else ("model.hidden=[8]",)
    with suppress(ConfigError):  # init_from takes the weights alone, so it need not refuse
        train("data=synthetic", *QUICK[:-1], *model, f"{option}={file}", "output_dir=new")
    assert WRITTEN not in os.listdir(trap)


@pytest.mark.parametrize("group", ["model", "loss", "penalty", "optim", "scheduler"])
def test_a_run_with_an_untrusted_part_is_not_resumed(train, tmp_path, group):
    from omegaconf import OmegaConf

    from litmus.core.checkpoint_io import read_json, write_json
    from litmus.runs.identity import config_hash, experiment

    run = train(*QUICK, "scheduler=constant", "output_dir=run")
    file = run.path / ".hydra" / "config.yaml"
    cfg = OmegaConf.load(file)
    cfg[group] = WRITE
    file.write_text(OmegaConf.to_yaml(cfg))
    record = read_json(run.path / "run.json")
    write_json(run.path / "run.json", {**record, "config_hash": config_hash(experiment(cfg))})
    with pytest.raises(ConfigError, match="trust"):
        train("resume=run", "trainer.max_epochs=2", small=False)
    assert not (tmp_path / WRITTEN).exists()


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
