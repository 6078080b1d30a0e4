"""The machine and the library versions of a benchmark."""

import os
import platform
from importlib.metadata import version
from pathlib import Path


def machine() -> str:
    """One line: cores, processor, and the versions of Python and the libraries."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), cpu)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "pytorch-lightning"))
    return f"{os.cpu_count()} cores of {cpu}, Python {platform.python_version()}, {libraries}"
