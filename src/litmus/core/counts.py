"""Counts in a sentence."""


def format_count(number: int, thing: str, things: str | None = None) -> str:
    """The number and its noun: 1 epoch, 2 epochs. `things` is a plural that is not made with s."""
    return f"{number:,} {thing if number == 1 else things or f'{thing}s'}"
