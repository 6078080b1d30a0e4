"""ResNetFineTuner: residual networks (He et al. 2015) with a backbone that can be frozen and unfrozen."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
import torchvision
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn

from litmus.errors import StoppedRun, number, one_of, require, whole_number
from litmus.models.classifier import Classifier
from litmus.models.layers import sequential
from litmus.models.pretrained import load_pretrained

log = logging.getLogger("litmus")

ARCHS = ("resnet18", "resnet34", "resnet50")
STAGES = (("layer4",), ("layer3",), ("layer2",), ("layer1",), ("conv1", "bn1"))  # of the backbone, from the output


class ResNetFineTuner(Classifier):
    """torchvision's `arch` as `network.backbone`, and a linear `network.head` of `num_classes`; a gray image is
    repeated to three channels. `weights` are those to start from: a name of torchvision's, a file of its layout, or an
    earlier run, whose head is taken if its classes are the same.

    With `freeze` only the head trains: the backbone gets no gradient, the optimizer leaves it alone, and its batch
    normalization keeps its statistics. Once `unfreeze_at_epoch` epochs have ended it trains too, and then at
    `backbone_lr_factor` times the learning rate: all of it, or with `unfreeze_every` the top stage alone, and after
    one more every N epochs. `small_stem` begins with a 3×3 convolution without stride and no pooling, as is usual
    for CIFAR.
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: Sequence[int],
        arch: str = "resnet18",
        weights: str | None = None,
        freeze: bool = False,
        unfreeze_at_epoch: int | None = None,
        unfreeze_every: int | None = None,
        backbone_lr_factor: float = 1.0,
        small_stem: bool = False,
        channels_last: bool = True,
        **parts: Any,
    ):
        one_of("model.arch", arch, ARCHS)
        _check_image(image_shape, small_stem)
        if unfreeze_at_epoch is not None:
            unfreeze_at_epoch = whole_number("model.unfreeze_at_epoch", unfreeze_at_epoch, least=1)
            require(freeze, "model.unfreeze_at_epoch has nothing to unfreeze; set model.freeze=true, or leave it out")
        if unfreeze_every is not None:
            unfreeze_every = whole_number("model.unfreeze_every", unfreeze_every, least=1)
            require(unfreeze_at_epoch is not None, "model.unfreeze_every needs a start; set model.unfreeze_at_epoch=1")
        backbone_lr_factor = number("model.backbone_lr_factor", backbone_lr_factor, least=0)
        require(
            weights is None or parts.get("init_from") is None,
            "model.weights and model.init_from both say which weights to start from: leave one out",
        )
        backbone = getattr(torchvision.models, arch)()
        if small_stem:
            backbone.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
            nn.init.kaiming_normal_(backbone.conv1.weight, mode="fan_out", nonlinearity="relu")
            backbone.maxpool = nn.Identity()
        head = nn.Linear(backbone.fc.in_features, num_classes)
        backbone.fc = nn.Identity()
        last_layer = load_pretrained(backbone, head, arch, weights) if weights is not None else None
        network = sequential({"backbone": backbone, "head": head})
        super().__init__(network, num_classes, channels_last=channels_last, **parts)
        self.last_layer = last_layer
        self.random = weights is None and parts.get("init_from") is None
        self.frozen_epochs = (unfreeze_at_epoch or math.inf) if freeze else 0
        self.unfreeze_every = unfreeze_every
        self.backbone_lr_factor = backbone_lr_factor
        self.one_pixel_left = max(image_shape[1:]) <= (8 if small_stem else 32)
        self._train_stages(self.stages_at(epoch=0))

    @property
    def backbone(self) -> nn.Module:
        return self.network.get_submodule("backbone")

    @property
    def head(self) -> nn.Linear:
        return self.network.get_submodule("head")  # type: ignore[return-value]

    @property
    def frozen(self) -> bool:
        return self.trained_stages == 0

    def stages_at(self, epoch: int) -> int:
        """The number of backbone stages that train in this epoch. A function of the epoch alone, so that a resumed run
        trains the same.
        """
        if epoch < self.frozen_epochs:
            return 0
        if self.unfreeze_every is None:
            return len(STAGES)
        return min(1 + int(epoch - self.frozen_epochs) // self.unfreeze_every, len(STAGES))

    def forward(self, images: Tensor) -> Tensor:
        if images.dim() == 2:  # cached features of a frozen backbone
            return self.head(images)
        return super().forward(images.expand(-1, 3, -1, -1))

    def features(self, images: Tensor) -> Tensor:
        """Features (N, F) for the head, of preprocessed images (N, C, H, W)."""
        return self.backbone(images.expand(-1, 3, -1, -1).contiguous(memory_format=self.memory_format))

    @property
    def feature_count(self) -> int:
        return self.head.in_features

    def frozen_at(self, epoch: int) -> bool:
        return self.stages_at(epoch) == 0

    def setup(self, stage: str) -> None:
        if self.one_pixel_left and self.trainer.strategy.root_device.type == "cpu":
            # A one-pixel image has both layouts, and oneDNN then returns these gradients channels-first. With
            # channels-last weights, it would copy 28 MB of them in each step, a tenth of its time.
            for part in self.backbone.get_submodule("layer4").modules():
                if isinstance(part, nn.Conv2d) and part.stride == (1, 1):
                    part.to(memory_format=torch.contiguous_format)
        if stage == "fit" and self.last_layer is not None:
            data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            self.last_layer.give(self.head, data.class_names)

    def parameter_groups(self) -> list[dict[str, Any]]:
        # With the frozen parameters, from the start: an optimizer skips parameters without a gradient, and a group
        # that is added later breaks the schedule and resuming.
        return [
            {"name": "backbone", "params": list(self.backbone.parameters()), "lr_factor": self.backbone_lr_factor},
            {"name": "head", "params": list(self.head.parameters())},
        ]

    def on_fit_start(self) -> None:
        epochs = self.trainer.max_epochs
        if epochs not in (None, -1) and epochs <= self.frozen_epochs < math.inf:
            log.info(
                f"the backbone stays frozen: trainer.max_epochs={epochs} ends before "
                f"model.unfreeze_at_epoch={self.frozen_epochs} is reached"
            )
        if self.frozen and self.random:
            log.info("the frozen backbone's weights are random: model.weights=DEFAULT takes pretrained ones")

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        count = self.stages_at(self.current_epoch)
        if count != self.trained_stages:
            names = ", ".join(name for stage in STAGES[:count] for name in stage)
            log.info("the backbone trains from here on" + (f": {names}" if count < len(STAGES) else ""))
            self._train_stages(count)
            self._wrap_again()

    def train(self, mode: bool = True) -> "ResNetFineTuner":
        super().train(mode)
        self.backbone.train(mode and not self.frozen)
        for stage in STAGES[self.trained_stages :]:
            for name in stage:
                self.backbone.get_submodule(name).eval()
        return self

    def _train_stages(self, count: int) -> None:
        # For a stage without gradients, autograd saves no activations: it is as fast as under no_grad.
        self.trained_stages = count
        for i, stage in enumerate(STAGES):
            for name in stage:
                self.backbone.get_submodule(name).requires_grad_(i < count)
        self.train(self.training)

    def _wrap_again(self) -> None:
        """Wraps the model in DistributedDataParallel again: it averages the gradients of only those parameters that
        were trainable when it was created.
        """
        strategy = self.trainer.strategy
        if isinstance(strategy, DDPStrategy):
            strategy.model = self
            strategy.configure_ddp()

    def check_batch(self, images: int) -> None:
        if images == 1 and self.one_pixel_left and not self.frozen:
            raise StoppedRun(
                "a batch of one image can't be normalized where one pixel of it is left: choose a data.batch_size that "
                "leaves no single image over, model.small_stem=true, or a larger data.image_size"
            )


def _check_image(image_shape: Sequence[int], small_stem: bool) -> None:
    channels, height, width = image_shape
    require(channels in (1, 3), f"model=resnet takes gray or color images, and these have {channels} channels")
    least = 5 if small_stem else 17  # smaller images have one pixel before the last stage, which halves the size
    fix = "set data.image_size=32" if small_stem else "set model.small_stem=true or data.image_size=224"
    require(
        min(height, width) >= least,
        f"model=resnet halves images {3 if small_stem else 5} times, and {height}×{width} pixels are too few; {fix}",
    )
