"""What is done to a process that is started, before it begins: where it is to be killed, and a network small enough."""

import os
import resource
import signal
from pathlib import Path
from typing import Any


def prepare(moment: dict[str, Any] | None = None, narrow: bool = False, beside: bool = False) -> None:
    """With `moment`, the process gets a signal at the `nth` training step, or at the `nth` writing of `file`: `before`
    the draft takes the name, `torn` when half of the draft is on the disk, or `after`, before anything else happens.
    With `beside`, checkpoints of any size are written while training continues."""
    if narrow:
        _narrow_the_resnet()
    if beside:
        from litmus.core.checkpoint_io import AtomicCheckpointIO

        AtomicCheckpointIO.LARGE = 0
    if moment is not None:
        (_kill_at_a_step if moment["file"] is None else _kill_at_a_write)(**moment)


def _kill_at_a_write(file: str, nth: int, when: str, number: int = signal.SIGKILL) -> None:
    replace, left = os.replace, nth

    def replaced(draft: Path, path: Path) -> None:
        nonlocal left
        left -= Path(path).name == file
        if left == 0 and when == "torn":
            os.truncate(draft, os.path.getsize(draft) // 2)
        if left == 0 and when != "after":
            os.kill(os.getpid(), number)
        replace(draft, path)
        if left == 0:
            os.kill(os.getpid(), number)

    os.replace = replaced


def _kill_at_a_step(file: None, nth: int, when: str, act: str = "kill") -> None:
    """Or, to `fill the disk`, no file may grow beyond a thousand bytes from there on."""
    from litmus.models.classifier import Classifier

    record_step, left = Classifier.record_step, nth

    def counted(self: Classifier, *arguments: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            if act == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        record_step(self, *arguments)

    Classifier.record_step = counted


def _narrow_the_resnet() -> None:
    """An eighth of ResNet-18's width: its stages freeze and unfreeze all the same."""
    import torchvision
    from torch import nn
    from torchvision.models.resnet import BasicBlock, ResNet

    class Narrow(ResNet):
        def _make_layer(self, block: type[BasicBlock], planes: int, *arguments: Any, **options: Any) -> nn.Sequential:
            return super()._make_layer(block, planes // 8, *arguments, **options)

    def resnet18() -> ResNet:
        network = Narrow(BasicBlock, [2, 2, 2, 2])
        network.fc = nn.Linear(64, 1000)
        return network

    torchvision.models.resnet18 = resnet18
