"""A hand-written eager training loop: the images on the device as uint8, fused Adam, no framework."""

import torch
from device_case import DeviceCase, Normalize, StepTimer
from torch import nn

case = DeviceCase.from_command_line()
images, labels, val_images, val_labels = (tensor.to(case.device) for tensor in case.load())
model = case.network(tuple(images.shape[1:])).to(case.device)
normalize = Normalize.fit(images, case.memory_format)
optimizer = torch.optim.Adam(model.parameters(), lr=case.learning_rate, fused=True)
timer = StepTimer(case.device, case.steps)

for _ in range(case.epochs):
    timer.start_epoch()
    model.train()
    for index in torch.randperm(len(labels), device=case.device).split(case.batch_size):
        optimizer.zero_grad()
        with case.autocast():
            loss = nn.functional.cross_entropy(model(normalize(images[index])), labels[index])
        loss.backward()
        optimizer.step()
        timer.end_step()
    model.eval()
    with torch.no_grad(), case.autocast():
        for batch, target in zip(val_images.split(case.batch_size), val_labels.split(case.batch_size), strict=True):
            (model(normalize(batch)).argmax(1) == target).float().mean()
    timer.end_epoch()
timer.report()
