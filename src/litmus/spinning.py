"""How torch's threads wait for one another on the CPU: spinning while the cores are theirs, else asleep.

Threads that spin are the fastest on an idle machine, and several times slower than threads that sleep as soon as one
other process wants a core. libgomp, the OpenMP of torch's wheels for Linux, spins for milliseconds, but for a moment
while a process has more threads than there are cores (its manual, under GOMP_SPINCOUNT). So a thread looks now and then
at how long the others have waited for a core, and as long as they have to, keeps threads that only make up the number.
"""

import ctypes
import os
import threading
import time
from importlib.util import find_spec
from pathlib import Path

PERIOD = 0.25  # seconds
CROWDED = 0.1  # seconds waited for a core, by all threads together, in each second

_started = False


def libgomp() -> Path | None:
    """torch's own, without importing torch. None where there is none, or the kernel doesn't count what is waited."""
    counts = Path("/proc/self/schedstat")
    torch = find_spec("torch")
    if torch is None or torch.origin is None or not counts.exists() or counts.read_text().startswith("0 "):
        return None
    packages = Path(torch.origin).parents[1]
    found = [file for folder in ("torch/lib", "torch.libs") for file in (packages / folder).glob("libgomp*")]
    return found[0] if found else None


def theirs() -> bool:
    """Whether the user has said how threads wait."""
    return any(name in os.environ for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"))


def sleep_in_a_crowd() -> None:
    """From now on in this process, unless the user has said how threads wait. A forked process has to say it again."""
    global _started
    library = None if _started or theirs() else libgomp()
    if library is not None:
        _started = True
        threading.Thread(target=_watch, args=(Crowd(library),), name="spinning", daemon=True).start()


def waited() -> float:
    """Seconds that this process' threads have been ready to run and without a core: proc(5), /proc/[pid]/schedstat."""
    total = 0
    for thread in os.listdir("/proc/self/task"):
        try:
            total += int(Path("/proc/self/task", thread, "schedstat").read_text().split()[1])
        except OSError:  # it has ended
            continue
    return total / 1e9


def _watch(crowd: "Crowd") -> None:
    before, then = waited(), time.monotonic()
    while True:
        time.sleep(PERIOD)
        after, now = waited(), time.monotonic()
        crowd.gather(after - before > CROWDED * (now - then))
        before, then = after, now


class Crowd:
    """One thread more than there are cores, which do nothing, and make libgomp's other threads sleep."""

    def __init__(self, library: Path):
        self.gomp, self.nothing = ctypes.CDLL(str(library)), ctypes.CDLL(None).free  # of a null pointer
        self.over: threading.Event | None = None

    def gather(self, wanted: bool) -> None:
        if wanted and self.over is None:
            self.over = threading.Event()
            threading.Thread(target=self._stand_by, args=(self.over,), name="crowd", daemon=True).start()
        elif not wanted and self.over is not None:
            self.over.set()
            self.over = None

    def _stand_by(self, over: threading.Event) -> None:
        # A Python thread has a pool of its own, which ends with it.
        function = ctypes.cast(self.nothing, ctypes.c_void_p)
        self.gomp.GOMP_parallel(function, None, self.gomp.omp_get_num_procs() + 1, 0)
        over.wait()
