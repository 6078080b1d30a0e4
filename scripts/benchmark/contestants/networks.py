"""The networks in plain PyTorch, as conf/model describes them."""

import torch
from torch import nn


def network(
    model: str,
    image_shape: tuple[int, ...],
    num_classes: int = 10,
    small_stem: bool = False,
    channels_last: bool = True,
) -> nn.Module:
    channels, height, width = image_shape
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    if model == "mlp":
        return nn.Sequential(
            *(nn.Flatten(), nn.Linear(channels * height * width, 100), nn.ReLU()),
            *(nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, num_classes)),
        )
    if model == "cnn":
        return nn.Sequential(
            *(nn.Conv2d(channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Flatten(), nn.Dropout(0.3), nn.Linear(16 * (height // 4) * (width // 4), 128), nn.ReLU()),
            *(nn.Dropout(0.3), nn.Linear(128, num_classes)),
        ).to(memory_format=memory_format)
    from torchvision.models import resnet18

    resnet = resnet18(num_classes=num_classes)
    if small_stem:
        resnet.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
        resnet.maxpool = nn.Identity()
    resnet.to(memory_format=memory_format)
    if model == "frozen":
        for name, parameter in resnet.named_parameters():
            parameter.requires_grad = name.startswith("fc.")
    return resnet
