"""Loading a model whose code has changed since its run warns in one line."""

import json
import sys

import pytest
from conftest import option
from picture_files import picture

import litmus

QUICK = ("data.num_images=64", "trainer.max_epochs=1", "logger=none", "callbacks=none", "output_dir=run")
MODULE = '''
from torch import nn


class Mine(nn.Linear):
    """A linear model."""


def build(num_classes, image_shape):
    return nn.Sequential(nn.Flatten(), Mine(784, num_classes))
'''


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes the module of a model, and forgets that it was imported."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def write(text):
        (folder / "my_model.py").write_text(text)
        monkeypatch.delitem(sys.modules, "my_model", raising=False)

    return write


@pytest.fixture
def run(train, write, tmp_path):
    write(MODULE)
    return train(*option(tmp_path, "model", "_target_: my_model.build\n"), *QUICK).path


CHANGES = {
    "a class": (MODULE.replace('model."""', 'model."""\n\n    scale = 2'), 1),
    "the function": (MODULE.replace("nn.Flatten()", "nn.Flatten(1)"), 1),
    "a comment": (f"# A remark.\n{MODULE.replace('A linear model', 'The linear model')}", 0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_of_changed_code_is_loaded_with_a_warning(run, write, caplog, change):
    text, warnings = CHANGES[change]
    write(text)
    litmus.load(run, trust="my_model")
    assert len(caplog.messages) == warnings
    assert all("my_model.py" in line and "code.patch" in line and "\n" not in line for line in caplog.messages)


def test_code_that_the_model_does_not_use_gives_no_warning(run, caplog):
    edit(run, lambda code: code.update({"src/litmus/losses.py": "0", "train.py": "0", "/gone/helper.py": "0"}))
    litmus.load(run, trust="my_model")
    assert not caplog.messages


@pytest.mark.parametrize("name", ["models/classifier", "data/preprocess", "data/image_decoder"])
def test_the_code_of_litmus_around_the_network_counts(run, caplog, name):
    edit(run, lambda code: code.update({f"src/litmus/{name}.py": "0"}))
    litmus.load(run, trust="my_model")
    assert f"{name}.py" in caplog.text


@pytest.mark.parametrize("text", ["", "[]", '{"code": 3}', '{"code": {"/gone.py": 3}}', None])
def test_a_model_is_loaded_without_a_record_of_its_code(run, caplog, text):
    record = run / "run.json"
    record.unlink() if text is None else record.write_text(text)
    litmus.load(run, trust="my_model")
    assert len(caplog.messages) == (text is not None)
    assert all("run.json is damaged" in line for line in caplog.messages)


SCRIPTS = {
    "predict.py": ("run", "a.png", "--json"),
    "export.py": ("run", "--format", "safetensors"),
    "evaluate.py": ("run",),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_warns_on_stderr(run, write, script, capsys, tmp_path, name):
    write(CHANGES["the function"][0])
    picture(tmp_path / "a.png", 5)
    capsys.readouterr()
    script(name, *SCRIPTS[name], "--trust", "my_model")
    out, err = capsys.readouterr()
    assert [line for line in err.splitlines() if "the code of the model has changed" in line]
    assert "has changed" not in out


def edit(run, change):
    record = json.loads((run / "run.json").read_text())
    change(record["code"])
    (run / "run.json").write_text(json.dumps(record))
