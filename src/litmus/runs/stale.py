"""Whether a run directory was made with other code or other data than the current ones."""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from litmus.core.atomic_files import MOST_BYTES
from litmus.core.digests import file_state
from litmus.errors import ConfigError, first_few
from litmus.runs.code_version import PROJECT, changed_files, current_digests, files_now
from litmus.runs.records import read_record

log = logging.getLogger("litmus")

KEEP, RERUN = "keep", "rerun"
OPTIONS = (KEEP, RERUN)  # of `stale`
SET_ASIDE = ".stale-"  # in the name of a directory that `stale=rerun` has replaced
# Options of a data module that do not change what it reads.
NOT_THE_SOURCE = ("seed", "batch_size", "eval_batch_size", "augment", "val_size", "workers", "memory_gb")


class Unreadable(str):
    """The reason why data cannot be read; it takes the place of their fingerprint."""


@dataclass
class Changes:
    """What has changed since the runs were made."""

    paths: list[Path] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    has_other_data: bool = False
    unreadable: str = ""  # why data cannot be read any more

    def describe(self) -> str:
        parts = [f"other code ({first_few(self.files)})"] if self.files else []
        parts += ["other data"] if self.has_other_data else []
        return " and ".join([*parts, *([f"data that are damaged now ({self.unreadable})"] if self.unreadable else [])])

    def require_answer(self, stale: object, alternative: str | None = None, keep: str = f"stale={KEEP}") -> None:
        """Raises ConfigError unless `stale` says what to do with the runs.

        Where they cannot run again, `alternative` says what to do instead; `keep` is how to keep them.
        """
        if not self.paths or stale == KEEP or (stale == RERUN and alternative is None):
            return
        many = len(self.paths) > 1
        which = f"{len(self.paths):,} runs, such as {self.paths[0]}," if many else str(self.paths[0])
        again = f"stale={RERUN} to run {'them' if many else 'it'} again (the old results stay, renamed)"
        raise ConfigError(
            f"{which} {'were' if many else 'was'} made with {self.describe()}; set {keep} to use what is there, "
            f"or {alternative or again}"
        )

    def warn_if_kept(self, stale: object) -> None:
        """Logs which runs are used although code or data have changed."""
        if self.paths and stale == KEEP:
            first, many = self.paths[0], len(self.paths)
            runs = f"{many:,} runs, such as {first}, were" if many > 1 else f"{first} was"
            log.warning(f"{runs} made with {self.describe()} (stale={KEEP})")


def find_changes(runs: Mapping[Path, DictConfig], fingerprint: Callable[[Any], str | None]) -> Changes:
    """Finds the runs whose code or data have changed. `runs` maps directories to configs.

    `fingerprint` gives that of a data config, as `data_fingerprint` does. Only runs with a result or a checkpoint
    count. Runs of versions of Litmus that did not record code or data count as unchanged.
    """
    records = {path: read_record(path / "run.json") for path in runs if _has_progress(path)}
    now = files_now({module for record in records.values() for module in record.get("modules", {})})
    recorded = {name for record in records.values() for name in record.get("code", {})} | {*now.values()}
    digests = dict.fromkeys(recorded, "") | current_digests(_readable(recorded))
    data_now = _DataNow(fingerprint)
    found = Changes()
    for path, record in records.items():
        modules = record.get("modules", {}).items()
        moved = {file: now[module] for module, file in modules if now.get(module, file) != file}
        files = changed_files(record.get("code", {}), digests, moved)
        other_data = data_now.differing(record, runs[path].data)
        if files or other_data is not None:
            found.paths.append(path)
            found.files += [name for name in files if name not in found.files]
        if isinstance(other_data, Unreadable):
            found.unreadable = other_data
        elif other_data is not None:
            found.has_other_data = True
    return found


@dataclass
class _DataNow:
    """Computes the current fingerprints, once for all runs of the same sources."""

    fingerprint: Callable[[Any], str | None]
    states: dict[tuple[str, ...], str] = field(default_factory=dict)
    fingerprints: dict[str, str | None] = field(default_factory=dict)

    def differing(self, record: Mapping[str, Any], data: DictConfig) -> str | None:
        """The current fingerprint or `Unreadable`; None if it has not changed or cannot be compared."""
        before, sources = record.get("data_fingerprint"), tuple(record.get("data_sources", ()))
        is_gone = bool(sources) and not any(Path(source).exists() for source in sources)
        if before is None or is_gone or record.get("data_state") == self._state(sources):
            return None
        key = source_key(data)
        if key not in self.fingerprints:
            self.fingerprints[key] = self.fingerprint(OmegaConf.to_container(data, resolve=True))
        now = self.fingerprints[key]
        return now if now != before else None

    def _state(self, sources: tuple[str, ...]) -> str:
        if sources not in self.states:
            self.states[sources] = source_state(map(Path, sources))
        return self.states[sources]


def source_key(data: DictConfig) -> str:
    """The options of a data config that decide what is read, as text."""
    options: Any = OmegaConf.to_container(data, resolve=True)
    return json.dumps({k: v for k, v in options.items() if k not in NOT_THE_SOURCE}, sort_keys=True)


def changed_modules(run: Path, modules: Iterable[str]) -> list[str]:
    """The files of imported modules that have changed since the run imported them.

    Raises ConfigError if its run.json is damaged. A run without one, or with other files, counts as unchanged.
    """
    record = run / "run.json"
    code = read_record(record).get("code", {}) if record.exists() else {}
    files = {Path(file).resolve() for name in modules if (file := getattr(sys.modules.get(name), "__file__", None))}
    known = {name: digest for name, digest in code.items() if PROJECT / name in files}
    return changed_files(known, current_digests(known), {})


def _readable(code: Iterable[str]) -> list[str]:
    """Leaves out devices and huge files, which the record of someone else may name; they count as changed."""
    return [name for name in code if not (file := PROJECT / name).exists() or _is_source(file)]


def _is_source(file: Path) -> bool:
    return file.is_file() and file.stat().st_size <= MOST_BYTES and file.resolve().parts[1] not in ("proc", "sys")


def source_state(sources: Iterable[Path]) -> str:
    """A digest of the names, sizes and modification times of files and of the files in folders."""
    return file_state(file for path in sources for file in _files(path))


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found, seen = list[Path](), set[str]()
    for folder, folders, names in os.walk(path, followlinks=True):
        seen.add(os.path.realpath(folder))
        folders[:] = [name for name in folders if os.path.realpath(os.path.join(folder, name)) not in seen]
        found += [Path(folder, name) for name in names]
    return found


def data_fingerprint(config: Any) -> str | None:
    """The fingerprint of a data config, or `Unreadable`; None if the data module has none, or lacks its files."""
    from litmus.data.protocol import complete_data_module
    from litmus.runs.building import build

    try:
        return complete_data_module(build(OmegaConf.create(config))).fingerprint()
    except FileNotFoundError:
        return None
    except (ConfigError, OSError) as error:
        return Unreadable(error)


def data_fingerprint_elsewhere(config: Any) -> str | None:
    """The same in a new process, so that this one imports no torch."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(data_fingerprint, config).result()


def set_aside(path: Path) -> Path:
    """Renames a run directory that is replaced. Reports leave it out."""
    path = Path(os.path.abspath(path))  # `runs/..` has no name of its own
    to = path.with_name(f"{path.name}{SET_ASIDE}{datetime.now():%Y%m%d-%H%M%S-%f}")
    path.rename(to)
    return to


def _has_progress(path: Path) -> bool:
    parts = ("result.json", "checkpoints/last.ckpt")
    return (path / "run.json").exists() and any((path / part).exists() for part in parts)
