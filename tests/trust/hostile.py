"""What a hostile file must leave alone: the file system, the process, memory and time."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import snapshot

from litmus import cli

WRITTEN = "written"  # the file that a hostile target would write, in the current directory
SECONDS, BYTES = 60, 2**30  # generous limits; a hostile file would take hours, or all memory


def node(target: str, *args: object, **options: object) -> dict[str, Any]:
    return {"_target_": target, **({"_args_": list(args)} if args else {}), **options}


PATH = node("pathlib.Path", WRITTEN)
WRITE = node("pathlib.Path.write_text", self=PATH, data="x")
SAVE = node("torch.save", obj=1, f=WRITTEN)

MODELS = {  # what a hostile config gives for a network
    "write_text": WRITE,
    "touch": node("pathlib.Path.touch", self=PATH),
    "makedirs": node("os.makedirs", WRITTEN),
    "open": node("builtins.open", WRITTEN, "w"),
    "eval": node("builtins.eval", f"open('{WRITTEN}', 'w')"),
    "popen": node("subprocess.Popen", ["touch", WRITTEN]),
    "system": node("os.system", f"touch {WRITTEN}"),
    "through a library": node("torch.os.system", f"touch {WRITTEN}"),
    "through Litmus": node("litmus.runs.provenance.subprocess.run", ["touch", WRITTEN]),
    "torch.save": SAVE,
    "torch.load": node("torch.load", f="hostile.pt", weights_only=False),
    "torch.hub": node("torch.hub.load", "folder", "model", source="local"),
    "torch.jit": node("torch.jit.load", "hostile.pt"),
    "load_library": node("torch.ops.load_library", "hostile.so"),
    "np.save": node("numpy.save", WRITTEN, [1]),
    "np.memmap": node("numpy.memmap", WRITTEN, mode="w+", shape=[4]),
    "np.load": node("numpy.load", "hostile.npy", allow_pickle=True),
    "pickle": node("pickle.load", node("builtins.open", "hostile.pt", "rb")),
    "import": node("importlib.import_module", "hostile_module"),
    "a module that is imported": node("hostile_module.Network"),
    "Hydra": node("hydra.utils.instantiate", WRITE),
    "write_json of Litmus": node("litmus.core.atomic_files.write_json", WRITTEN, 1),
    "nested": node("torch.nn.Sequential", node("torch.nn.Flatten"), WRITE),
    "nested deep": node("torch.nn.Sequential", node("torch.nn.Sequential", modules=[{"a": SAVE}])),
    "a partial": node("torch.save", 1, WRITTEN, _partial_=True),
    "not a name": {"_target_": ["os.system"]},
    "a call": {"_target_": "os.system('touch written')"},
}


def process_state() -> dict[str, object]:
    tasks = Path("/proc/self/task")
    return {
        "environment": dict(os.environ),
        "path": set(sys.path),  # a script appends the project
        "folder": os.getcwd(),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "threads": {thread.name for thread in threading.enumerate()},
        "children": {pid for task in tasks.iterdir() for pid in (task / "children").read_text().split()},
    }


@contextmanager
def limited() -> Iterator[None]:
    """Fails if what is within it takes more than SECONDS or BYTES."""

    def end(*_: object) -> None:
        raise TimeoutError(f"took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(SECONDS)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    start = peak_memory()
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert peak_memory() - start < BYTES


def peak_memory() -> int:
    """In bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def refuse(capsys: pytest.CaptureFixture[str], action: Callable[[], object], folder: Path) -> str:
    """The sentence with which the action, as a command, ends with status 2. Nothing else may have changed."""
    files, process = snapshot(folder), process_state()
    capsys.readouterr()
    with limited(), pytest.raises(SystemExit) as end:
        cli.script(lambda: action())()
    assert end.value.code == 2
    assert snapshot(folder) == files
    assert process_state() == process
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith("error: ")
    assert len(sentence) < 1500
    return sentence
