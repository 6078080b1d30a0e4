"""Delays a signal while torch runs code in which an exception would be lost."""

from collections.abc import Iterator
from contextlib import contextmanager

_is_held = False
_held: int | None = None


def hold(signum: int) -> bool:
    """For a signal handler: whether the signal is held back, to be raised later by `held_back`."""
    global _held
    if _is_held:
        _held = signum
    return _is_held


@contextmanager
def held_back() -> Iterator[None]:
    """Raises SystemExit on exit if a signal arrived meanwhile.

    Dynamo treats an exception in its guards, where a signal handler may raise, as a failed guard: it would compile
    again and lose the signal.
    """
    global _is_held, _held
    _is_held = True
    try:
        yield
    finally:
        _is_held = False
        signum, _held = _held, None
    if signum is not None:
        raise SystemExit(128 + signum)
