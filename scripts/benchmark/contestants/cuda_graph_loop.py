"""A hand-written training loop whose whole step, from picking the images to Adam, is one captured CUDA graph."""

import time

import torch
from device_case import DeviceCase, Normalize, StepTimer
from torch import nn

case = DeviceCase.from_command_line()
images, labels, val_images, val_labels = (tensor.to(case.device) for tensor in case.load())
model = case.network(tuple(images.shape[1:])).to(case.device)
normalize = Normalize.fit(images, case.memory_format)
optimizer = torch.optim.Adam(model.parameters(), lr=case.learning_rate, fused=True, capturable=True)
timer = StepTimer(case.device, case.steps)
index = torch.arange(case.batch_size, device=case.device)


def step() -> None:
    with case.autocast():
        loss = nn.functional.cross_entropy(model(normalize(images[index])), labels[index])
    loss.backward()
    optimizer.step()


def capture() -> torch.cuda.CUDAGraph:
    """As torch's notes on CUDA graphs do it: some steps on a side stream first, so that all state exists."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            optimizer.zero_grad()
            step()
    torch.cuda.current_stream().wait_stream(side)
    optimizer.zero_grad()  # so that the gradients are allocated in the graph's own memory
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph


started = time.perf_counter()
graph = capture()
setup = time.perf_counter() - started
for _ in range(case.epochs):
    timer.start_epoch()
    model.train()
    for batch_index in torch.randperm(len(labels), device=case.device).split(case.batch_size):
        index.copy_(batch_index)
        graph.replay()
        timer.end_step()
    model.eval()
    with torch.no_grad(), case.autocast():
        for batch, target in zip(val_images.split(case.batch_size), val_labels.split(case.batch_size), strict=True):
            (model(normalize(batch)).argmax(1) == target).float().mean()
    timer.end_epoch()
timer.report(setup)
