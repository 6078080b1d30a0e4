"""Delays a signal while torch runs code in which an exception would be lost."""

from collections.abc import Iterator
from contextlib import contextmanager

_is_held = False
_held: int | None = None


def hold(signum: int) -> bool:
    """For a signal handler: returns whether the signal is held back, in which case `held_back` raises it later."""
    global _held
    if _is_held:
        _held = signum
    return _is_held


@contextmanager
def held_back() -> Iterator[None]:
    """Holds back signals inside the context, and raises SystemExit at its end if one arrived.

    A signal handler may raise inside Dynamo's guards. Dynamo treats the exception as a failed guard: it compiles again,
    and the signal is lost.
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
