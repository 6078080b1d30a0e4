"""Fonts for user text in figures, so that any character can be drawn."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

log = logging.getLogger("litmus")

# Fallback fonts for scripts that matplotlib's font lacks, used where installed.
FALLBACKS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Noto Sans SC", "Noto Sans KR", "Source Han Sans"),
    *("WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback", "IPAexGothic", "NanumGothic"),
    *("Hiragino Sans", "PingFang SC", "Apple SD Gothic Neo", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "SimHei"),
    *(
        "Arial Unicode MS",
        "Noto Sans",
        "Noto Sans Arabic",
        "Noto Sans Hebrew",
        "Noto Sans Thai",
        "Noto Sans Devanagari",
    ),
)


@contextmanager
def plain_text() -> Iterator[None]:
    """Within it, figures draw a dollar sign literally, and use other installed fonts for characters that DejaVu Sans
    lacks.
    """
    import matplotlib

    with matplotlib.rc_context(text_style()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # drawn as a box without `replace_missing_glyphs`
        yield


def text_style() -> dict[Any, Any]:
    return {"text.parse_math": False, "font.family": list(_families())}


def replace_missing_glyphs(text: str) -> str:
    """The text with escapes such as \\u732b for characters that no installed font has; logs it once."""
    if text.isascii() and text.isprintable():
        return text
    missing = sorted({character for character in text if character != "\n" and not _has_glyph(character)})
    if missing:
        _log_missing()
    return "".join(c.encode("unicode_escape").decode() if c in missing else c for c in text)


@cache
def _families() -> tuple[str, ...]:
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return "DejaVu Sans", *(name for name in FALLBACKS if name in installed)


@cache
def _has_glyph(character: str) -> bool:
    from matplotlib.font_manager import findfont, get_font

    return any(get_font(findfont(family)).get_char_index(ord(character)) for family in _families())


@cache
def _log_missing() -> None:
    log.info(
        "figures show escapes for characters that no installed font has: install one that does, such as Noto Sans CJK"
    )
