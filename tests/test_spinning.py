import os
import subprocess
import sys

import pytest

from litmus import environment, spinning

needs_libgomp = pytest.mark.skipif(
    spinning.libgomp() is None or len(os.sched_getaffinity(0)) < 2, reason="torch with libgomp, and two cores"
)

# Threads wait half a millisecond for the next step: longer than those that are to sleep spin, shorter than others.
SWITCHES = """
import resource, time
import torch
from litmus.spinning import Crowd, libgomp

STEPS = 300
numbers = torch.ones(2**17)

def sleeps():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    for _ in range(STEPS):
        numbers.add_(1)
        start = time.perf_counter()
        while time.perf_counter() < start + 0.0005:
            pass
    return (resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before) / STEPS

torch.set_num_threads(2)
crowd = Crowd(libgomp())
for wanted in (False, True, False):
    crowd.gather(wanted)
    time.sleep(0.2)
    print(sleeps())
"""

# On one core with a process that wants all of it, and then without.
BESIDE = """
import os, subprocess, sys, threading, time
from litmus.spinning import sleep_in_a_crowd

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
sleep_in_a_crowd()

def wait_for(crowd, work):
    until = time.monotonic() + 60
    while any(thread.name == "crowd" for thread in threading.enumerate()) != crowd:
        assert time.monotonic() < until, crowd
        work()

busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
try:
    wait_for(True, lambda: sum(range(100_000)))
finally:
    busy.kill()
wait_for(False, lambda: time.sleep(0.3))
print("seen")
"""


def answer(program, **variables):
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "MKL_"))}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=mine | variables, capture_output=True, check=True, text=True).stdout.split()


@needs_libgomp
def test_threads_sleep_between_operations_only_as_long_as_there_is_a_crowd():
    before, within, after = map(float, answer(SWITCHES))
    assert within > 0.9
    assert before < 0.6
    assert after < 0.6


@needs_libgomp
def test_the_crowd_is_there_as_long_as_others_want_the_cores():
    assert answer(BESIDE) == ["seen"]


@needs_libgomp
@pytest.mark.parametrize("variable", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"])
def test_whoever_says_how_threads_wait_is_left_alone(variable):
    program = "import threading, litmus.spinning as s; s.sleep_in_a_crowd(); print(threading.active_count())"
    assert answer(program) == ["2"]
    assert answer(program, **{variable: "1000"}) == ["1"]


@pytest.mark.parametrize("found", [None, "libgomp.so.1"])
def test_where_nothing_can_be_seen_threads_nearly_sleep(monkeypatch, found):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setattr(environment, "libgomp", lambda: found)
    monkeypatch.setattr(environment, "keep_memory", lambda: None)
    environment.prepare_environment()
    assert os.environ.get("OMP_WAIT_POLICY") == (None if found else "PASSIVE")
    assert os.environ.get("GOMP_SPINCOUNT") == (None if found else "1000")
