import json

import numpy as np
import pytest
import torch
import torchvision
from conftest import SMALL, weights
from safetensors import safe_open
from safetensors.torch import load_file

import litmus
from litmus.data.preprocess import Preprocess
from litmus.inference import export as exporting
from litmus.inference.export import resizing

FEW = ("trainer.max_epochs=1", "callbacks=none", "logger=none", "test=false", "output_dir=run")
RESNET = ("data=synthetic", "data.image_shape=[3,20,24]", "data.num_images=40", "data.batch_size=20", "model=resnet")


@pytest.mark.parametrize("size", [32, 9])
def test_resizing_by_matrices_is_what_the_preprocessing_does(size):
    images = torch.randint(0, 256, (2, 3, 17, 23), dtype=torch.uint8)
    ours = resizing(17, size) @ images.float() @ resizing(23, size).T
    theirs = Preprocess(torch.zeros(3), torch.ones(3), size)(images)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)


def graph(path):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session, lambda images: session.run(["logits"], {"images": images})[0]


@pytest.mark.parametrize(
    "options",
    [
        (*SMALL, "model=mlp"),
        (*SMALL, "model=cnn"),
        (*RESNET, "accelerator=cpu", "data.image_size=32", "data.scaling=imagenet"),
    ],
    ids=["mlp", "cnn", "resnet"],
)
def test_onnx_maps_raw_images_of_any_batch_size_to_the_models_logits(train, script, capsys, options):
    pytest.importorskip("onnxscript")
    run = train(*options, *FEW, small=False)
    script("export.py", "run", "--format", "onnx")
    assert "; logits differ by " in capsys.readouterr().out
    session, answer = graph(run.path / "export" / "model.onnx")
    trained = litmus.load(run.path)
    for count in (1, 7):
        images = np.random.default_rng(1).integers(0, 256, (count, *trained.decode.shape), dtype=np.uint8)
        with torch.no_grad():
            expected = trained(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(answer(images), expected, atol=1e-4)
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["class_names"]) == trained.class_names
    assert json.loads(told["image_shape"]) == list(trained.decode.shape)


def test_what_the_graph_gets_wrong_is_not_kept(train, script, capsys, monkeypatch):
    pytest.importorskip("onnxscript")
    run = train(*SMALL, *FEW, small=False).path
    monkeypatch.setattr(exporting, "run_onnx", lambda path, images: torch.zeros(len(images), 10))
    with pytest.raises(SystemExit):
        script("export.py", "run", "--format", "onnx")
    assert "error: the file's logits differ from the model's by" in capsys.readouterr().err
    assert list((run / "export").iterdir()) == []


def test_safetensors_of_a_resnet_are_for_torchvision_and_for_another_run(train, script):
    run = train(*RESNET, *FEW, "accelerator=cpu", small=False).path
    script("export.py", "run", "--format", "safetensors", "--out", "w.safetensors")
    theirs = torchvision.models.resnet18(num_classes=10)
    theirs.load_state_dict(load_file("w.safetensors"))
    assert torch.equal(theirs.fc.weight, weights(run, "best")["network.head.weight"])
    with safe_open("w.safetensors", "pt") as file:
        assert json.loads(file.metadata()["class_names"])[3] == "class 3"
    options = (*FEW[:-1], "optim=sgd", "optim.lr=0", "output_dir=next", "model.freeze=true")
    after = train(*RESNET, *options, "accelerator=cpu", "model.weights=w.safetensors", small=False).path
    assert torch.equal(weights(after)["network.head.weight"], theirs.fc.weight)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere", "--format", "onnx"], "nowhere does not exist: give a run directory or a checkpoint file"),
        (["run", "--format", "onnx"], "--format onnx needs the package onnxscript: pip install -e '.[export]'"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(train, script, capsys, monkeypatch, arguments, sentence):
    train(*SMALL, *FEW, small=False)
    real = exporting.importlib.import_module

    def absent(name):
        if name == "onnxscript":
            raise ImportError
        return real(name)

    monkeypatch.setattr(exporting.importlib, "import_module", absent)
    with pytest.raises(SystemExit) as stop:
        script("export.py", *arguments)
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: {sentence}\n"
