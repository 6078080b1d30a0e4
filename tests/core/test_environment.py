import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's memory")

# 64 MiB are used and freed twice; the faults are the pages that the second use has to ask the system for.
PROGRAM = """
import ctypes, resource
from litmus.core.environment import prepare_environment

prepare_environment()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p

def use():
    place = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(2**26)))
    libc.memset(place, 1, ctypes.c_size_t(2**26))
    libc.free(place)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

use()
print(-use() + use())
"""


def faults(**variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC"))}
    command = [sys.executable, "-c", PROGRAM]
    return int(subprocess.run(command, env=environment | variables, capture_output=True, check=True).stdout)


def test_freed_memory_is_used_again_without_asking_the_system():
    assert faults() < 10


def test_whoever_sets_glibcs_own_variables_keeps_them():
    assert faults(MALLOC_MMAP_THRESHOLD_="1048576") > 30  # of 2 MiB, where the system has such pages
