"""The type of a value on the command line, which is that of its default. Imports no torch."""

from typing import Any

from omegaconf import OmegaConf

from litmus.errors import require

ALSO: dict[str, type] = {"trainer.compile": str}  # beside the default's type: a mode, which is checked later
WANTED: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
    list: "a list",
    dict: "a group of options",
}


def check_type(key: str, value: Any, default: Any, hint: str = "") -> None:
    """Raises ConfigError if the type of the value differs from that of the default."""
    if isinstance(value, ALSO.get(key, ())):
        return
    if default is None or (isinstance(value, str) and "${" in value):
        return
    kind = dict if OmegaConf.is_dict(default) else list if OmegaConf.is_list(default) else type(default)
    accepted: dict[type, tuple[type, ...]] = {float: (float, int), str: (str,)}
    fits = isinstance(value, accepted.get(kind, (kind,))) and (kind is bool or not isinstance(value, bool))
    switched_off = value is None and kind is dict
    example = (
        "" if kind is bool else f", such as {OmegaConf.to_container(default) if kind in (dict, list) else default}"
    )
    require(
        fits or switched_off,
        f"{key}={'null' if value is None else str(value)} does not fit: "
        f"{key} takes {WANTED.get(kind, kind.__name__)}{example}{hint}",
    )
