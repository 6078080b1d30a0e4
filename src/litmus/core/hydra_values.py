"""Values in the grammar of Hydra's overrides."""

import re
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString

NOT_TEXT = ("null", "true", "false", "nan", "inf")  # to Hydra, without quotes


def as_hydra_value(value: Any) -> str:
    """A value of a config in Hydra's grammar, with quotes where it needs them."""
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
    """A text that Hydra's grammar reads as it is."""
    return QuotedString(text, Quote.single).with_quotes()


def key_of(override: str) -> str:
    """The key of an override, without a leading + or ~."""
    return override.split("=")[0].lstrip("+~")
