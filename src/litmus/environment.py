"""What a process needs before torch starts in it."""

import ctypes
import gc
import os
import sys
from pathlib import Path

from litmus.spinning import libgomp

# Of mallopt(3).
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4


def prepare_environment() -> None:
    """Sets what torch reads as it starts, unless the user has set it, and how Python and the C library treat memory."""
    # Where threads can't be made to sleep as soon as something else wants a core, they never spin for long.
    if libgomp() is None:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # Without a GPU, a CUDA build of torch would look for one again at every step of an optimizer.
    if sys.platform == "linux" and not any(Path("/dev", name).exists() for name in ("nvidiactl", "dxg", "kfd")):
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    # The libraries are made of a million objects that stay: to look through them after every 700 takes a second.
    gc.set_threshold(10_000)
    keep_memory()


def keep_memory() -> None:
    """Keeps what is freed for the next allocation, where glibc allocates.

    By itself it gives a large tensor's memory back to the system, which hands it out again page by page, each filled
    with zeros: a fifth of the CNN's epoch. Whoever sets glibc's own variables, MALLOC_… or GLIBC_TUNABLES, keeps them.
    """
    if sys.platform != "linux" or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # other C libraries have none
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, -1)
        mallopt(TOP_PAD, 2**26)
