"""Exports a trained model to ONNX or safetensors, and checks the file."""

import importlib
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litmus.core.checkpoint_io import replacing
from litmus.data.preprocess import Preprocess
from litmus.errors import ConfigError, StoppedRun, require
from litmus.inference.loading import TrainedModel

TOLERANCE = 1e-4  # of the largest logit
BATCHES = (1, 5)  # sizes that a file is tried with: of any, the graph is one
NEEDED = ("onnxscript", "onnx", "onnxruntime")


class ExportModule(nn.Module):
    """uint8 images (N, C, H, W) of any fixed size to logits, as a graph of plain operations: resizing is a product with
    a matrix for rows and one for columns.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, trained: TrainedModel):
        super().__init__()
        self.model, self.preprocess = trained.model, trained.preprocess
        size = trained.preprocess.size
        _, height, width = trained.decode.shape
        self.resizes = size is not None and (height, width) != (size, size)
        self.register_buffer("rows", resizing(height, size or height))
        self.register_buffer("columns", resizing(width, size or width))

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.float()
        if self.resizes:
            pixels = self.rows @ pixels @ self.columns.T
        return self.model((pixels - self.preprocess.mean) / self.preprocess.std)


def resizing(before: int, after: int) -> Tensor:
    """The matrix (after, before) that resizes a row of pixels as `Preprocess` does."""
    unit = torch.eye(before)[None, None]
    return F.interpolate(unit, (after, before), mode="bilinear", antialias=True)[0, 0]


def export_onnx(trained: TrainedModel, path: Path) -> float:
    """Returns the largest difference of a logit. Raises StoppedRun if it is more than rounding."""
    for package in NEEDED:
        try:
            importlib.import_module(package)
        except ImportError:
            raise ConfigError(f"--format onnx needs the package {package}: pip install -e '.[export]'") from None
    import onnx

    whole = ExportModule(trained).eval()
    images = examples(trained, max(BATCHES))
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with replacing(path) as draft:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of what torch itself will change
            torch.onnx.export(
                whole,
                (images,),
                str(draft),
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        model = onnx.load(str(draft))
        onnx.helper.set_model_props(model, {name: json.dumps(value) for name, value in facts(trained).items()})
        onnx.save(model, str(draft))
        return checked(trained, lambda some: run_onnx(draft, some))


def run_onnx(path: Path, images: Tensor) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


def export_safetensors(trained: TrainedModel, path: Path) -> float:
    """The network weights, those of a ResNet under torchvision's names, with metadata as text."""
    from safetensors.torch import load_file, save_file

    network: Any = trained.model.network
    own = {name: value.contiguous() for name, value in network.state_dict().items()}
    metadata = {name: json.dumps(value) for name, value in {**facts(trained), "config": trained.config}.items()}
    with replacing(path) as draft:
        save_file({theirs(name): value for name, value in own.items()}, str(draft), metadata)
        read = load_file(str(draft))
        if not all(torch.equal(read[theirs(name)], value) for name, value in own.items()):
            raise StoppedRun("the file does not hold what was written: it was not kept")
    return 0.0


def theirs(name: str) -> str:
    """The torchvision name of a ResNet weight, so that model.weights=FILE and torchvision can read the file."""
    if name.startswith("backbone."):
        return name.removeprefix("backbone.")
    return f"fc.{name.removeprefix('head.')}" if name.startswith("head.") else name


def facts(trained: TrainedModel) -> dict[str, Any]:
    preprocess: Preprocess = trained.preprocess
    return {
        "class_names": trained.class_names,
        "image_shape": list(trained.decode.shape),  # of what goes in
        "image_size": preprocess.size,  # to which the images are resized
        "mean": preprocess.mean.flatten().tolist(),
        "std": preprocess.std.flatten().tolist(),
        "pipeline": trained.decode.pipeline,
    }


def examples(trained: TrainedModel, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, *trained.decode.shape), dtype=torch.uint8, generator=generator)


def checked(trained: TrainedModel, predict: Any) -> float:
    """The largest difference between the logits of the file and of the model, over batches of several sizes."""
    worst = 0.0
    for size in BATCHES:
        images = examples(trained, size)
        with torch.no_grad():
            expected = trained(images)
        found = predict(images)
        require(
            found.shape == expected.shape, f"the file gives {list(found.shape)} where {list(expected.shape)} is due"
        )
        difference = float((found - expected).abs().max())
        if not difference <= TOLERANCE * max(1.0, float(expected.abs().max())):
            raise StoppedRun(f"the file's logits differ from the model's by {difference:.2g}: it was not kept")
        worst = max(worst, difference)
    return worst
