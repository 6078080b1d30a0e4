"""How two runs differ: config, code, data, packages and machine."""

import difflib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from litmus.core.git import git
from litmus.core.saved_config import flatten, read_config
from litmus.errors import require
from litmus.runs.code_version import PROJECT, differing_files
from litmus.runs.identity import NOT_THE_EXPERIMENT
from litmus.runs.records import read_record

MACHINE = ("git_commit", "python", "machine", "gpu", "threads")


def describe_difference(run: Path, other: Path) -> str:
    """A text of what differs, with the code as a patch. Raises ConfigError if one is not a run directory."""
    for path in (run, other):
        require((path / "run.json").exists(), f"{path} is not a run directory: it has no run.json")
    records = [read_record(path / "run.json") for path in (run, other)]
    parts = {
        "config": _changes(*(_config(path) for path in (run, other))),
        "data": _data(*(record.get("data_fingerprint") for record in records)),
        "packages": _changes(*(record.get("packages", {}) for record in records)),
        "machine": _changes(*({name: record.get(name) for name in MACHINE} for record in records)),
        "code": _code((run, other), records),
    }
    lines = [f"{name}:" + ("\n" + "\n".join(found) if found else " the same") for name, found in parts.items()]
    return "\n".join([f"- {run}", f"+ {other}", "", *lines])


def _config(path: Path) -> dict[str, Any]:
    config = OmegaConf.to_container(read_config(path / ".hydra" / "config.yaml"))
    assert isinstance(config, dict)
    return flatten({key: value for key, value in config.items() if key not in NOT_THE_EXPERIMENT})


def _changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    keys = [key for key in dict.fromkeys([*before, *after]) if before.get(key) != after.get(key)]
    return [f"  {key}: {_shown(before, key)} → {_shown(after, key)}" for key in keys]


def _shown(values: dict[str, Any], key: str) -> str:
    return "absent" if key not in values else "null" if values[key] is None else str(values[key])


def _data(before: str | None, after: str | None) -> list[str]:
    if None in (before, after):
        return ["  unknown: not recorded"]
    return [] if before == after else ["  the images or labels differ"]


def _code(paths: tuple[Path, Path], records: list[dict[str, Any]]) -> list[str]:
    if not all(record.get("code") for record in records):
        return ["  unknown: not recorded"]
    before, after = (record["code"] for record in records)
    only = [f"  {sign} {name} (imported by this run alone)" for sign, name in _only_one(before, after)]
    return only + [line for name in differing_files((before, after)) for line in _patch(name, paths, records)]


def _only_one(before: dict[str, str], after: dict[str, str]) -> Iterator[tuple[str, str]]:
    yield from (("-", name) for name in before if name not in after)
    yield from (("+", name) for name in after if name not in before)


def _patch(name: str, paths: tuple[Path, Path], records: list[dict[str, Any]]) -> Iterator[str]:
    before, after = (_source(name, path, record) for path, record in zip(paths, records, strict=True))
    if before is None or after is None:
        yield f"  {name} differs; a source is in no commit and no code.patch"
    else:
        yield from (f"  {line}" for line in difflib.unified_diff(before, after, f"a/{name}", f"b/{name}", lineterm=""))


def _source(name: str, run: Path, record: dict[str, Any]) -> list[str] | None:
    """The lines of a file as the run imported it, from its commit and code.patch; None if they lack it."""
    if Path(name).is_absolute():  # outside the project
        return None
    commit, patch = str(record.get("git_commit")).removesuffix("+"), run / "code.patch"
    committed = git(PROJECT, "show", f"{commit}:{name}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        if committed is not None:
            file.write_text(committed, encoding="utf-8")
        if patch.exists():
            git(Path(folder), "apply", f"--include={name}", str(patch.resolve()))
        return file.read_text(errors="replace").splitlines() if file.exists() else None
