"""The loop one writes by hand: everything in memory, no framework."""

import torch
from case import case, timed
from networks import network
from torch import nn

given = case()
if given.threads:
    torch.set_num_threads(given.threads)
x, y, x_val, y_val = (torch.from_numpy(array) for array in given.arrays())
model = network(given.model, tuple(x.shape[1:]))
if given.model != "mlp":
    x, x_val = (images.contiguous(memory_format=torch.channels_last) for images in (x, x_val))
optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=given.learning_rate, fused=True)


def epoch() -> None:
    model.train()
    if given.model == "frozen":  # its batch normalization too
        model.eval()
    for index in torch.randperm(len(y)).split(given.batch_size):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[index]), y[index]).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        for images, labels in zip(x_val.split(1000), y_val.split(1000), strict=True):
            (model(images).argmax(1) == labels).float().mean()


timed(given.epochs, epoch)
