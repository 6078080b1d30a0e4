"""Values in the grammar of Hydra's overrides."""

import re
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString

NOT_TEXT = ("null", "true", "false", "nan", "inf")  # words with a meaning in the grammar


def as_hydra_value(value: Any) -> str:
    """A config value in Hydra's override grammar, quoted where needed."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list):
        return f"[{','.join(map(as_hydra_value, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{as_hydra_value(item)}' for key, item in value.items())}}}"
    if re.fullmatch(r"[A-Za-z_][\w./-]*", value, re.ASCII) and value.lower() not in NOT_TEXT:
        return str(value)
    return quote(str(value))


def quote(text: str) -> str:
    """Quotes a text for Hydra's override grammar."""
    return QuotedString(text, Quote.single).with_quotes()


def key_of(override: str) -> str:
    """The key of an override, without a leading + or ~."""
    return override.split("=")[0].lstrip("+~")
