"""Standard streams that are closed, or whose encoding lacks characters."""

import codecs
import os
import sys

PLAIN = {
    "±": "+-",
    "×": "x",
    "·": ".",
    "…": "...",
    "–": "-",
    "→": "->",
    "━": "=",
    "≥": ">=",
    "≤": "<=",
    "Ω": "Omega",
    "½": "1/2",
}


def prepare_streams() -> None:
    """Replaces closed streams by the null device, and characters that the terminal cannot encode by plain ones."""
    codecs.register_error("plain", _replace)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the shell, as with 2>&-
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (open until the process ends)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="plain")


def _replace(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    return "".join(PLAIN.get(character, "?") for character in text), error.end
