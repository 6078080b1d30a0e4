"""A pretrained torchvision network with its ImageNet classes, without a run."""

import torch
import torchvision
from torch import nn

from litmus.data.image_decoder import ImageDecoder
from litmus.data.preprocess import Preprocess
from litmus.errors import one_of, require
from litmus.inference.loading import TrainedModel
from litmus.models.layers import sequential
from litmus.models.pretrained import load_pretrained
from litmus.models.resnet import ARCHS


def load_torchvision(arch: str, weights: str) -> TrainedModel:
    """A pretrained torchvision network as `load` returns it. `weights` is a torchvision name, or a file of all ImageNet
    classes.
    """
    one_of("--arch", arch, ARCHS)
    known = torchvision.models.get_model_weights(arch)
    chosen = known[weights] if weights in known.__members__ else known["DEFAULT"]
    names = chosen.meta["categories"]
    backbone = getattr(torchvision.models, arch)()
    head = nn.Linear(backbone.fc.in_features, len(names))
    backbone.fc = nn.Identity()
    before = head.weight.clone()
    last_layer = load_pretrained(backbone, head, arch, weights, option="--weights")
    if last_layer is not None:
        last_layer.give(head, names)
    require(
        not torch.equal(before, head.weight),
        f"--weights={weights} has no last layer for ImageNet's {len(names):,} classes: give a run, or other weights",
    )
    preset = chosen.transforms()
    shape, margin = (3, preset.crop_size[0], preset.crop_size[0]), preset.resize_size[0] / preset.crop_size[0]
    mean, std = torch.tensor(preset.mean), torch.tensor(preset.std)
    network = sequential({"backbone": backbone, "head": head})
    metadata = {"class_names": names, "image_shape": list(shape)}
    return TrainedModel(network, Preprocess(255 * mean, 255 * std), ImageDecoder(shape, "imagenet", margin), metadata)
