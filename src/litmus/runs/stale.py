"""Whether a run directory was made by other code or from other data than there is now. Imports no torch at first."""

import functools
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

from litmus.core.atomic_files import MOST_BYTES, read_json
from litmus.core.digests import file_state
from litmus.errors import ConfigError, first_few
from litmus.runs.code_version import PROJECT, changed_files, current_digests

log = logging.getLogger("litmus")

KEEP, RERUN = "keep", "rerun"
OPTIONS = (KEEP, RERUN)  # of `stale`
SET_ASIDE = ".stale-"  # in the name of a directory that `stale=rerun` has replaced
# Options of a data module that do not change what it reads.
NOT_THE_SOURCE = ("seed", "batch_size", "eval_batch_size", "augment", "val_size", "workers", "memory_gb")


@dataclass
class Changes:
    """What has changed since the runs were made."""

    paths: list[Path] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    has_other_data: bool = False

    def describe(self) -> str:
        parts = [f"other code ({first_few(self.files)})"] if self.files else []
        return " and ".join([*parts, *(["other data"] if self.has_other_data else [])])

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
    """Those of the runs whose code or data differ now, by directory with their config.

    `fingerprint` gives that of a data config, or None if the data cannot be read. Only runs with a result or a
    checkpoint count. Runs of versions of Litmus that did not record code or data count as unchanged.
    """
    records = {path: read_json(path / "run.json") for path in runs if _has_progress(path)}
    digests = current_digests({name for record in records.values() for name in _readable(record.get("code", {}))})
    found, now = Changes(), dict[str, str | None]()
    state_of = functools.cache(lambda sources: source_state(map(Path, sources)))  # the runs of a sweep share them
    for path, record in records.items():
        code = record.get("code", {})
        files = changed_files(code, dict.fromkeys(code, "") | digests)
        before = record.get("data_fingerprint")
        has_other_data = False
        untouched = "data_state" in record and record["data_state"] == state_of(tuple(record["data_sources"]))
        if before is not None and not untouched:
            source: Any = OmegaConf.to_container(runs[path].data, resolve=True)
            key = json.dumps({k: v for k, v in source.items() if k not in NOT_THE_SOURCE}, sort_keys=True)
            if key not in now:
                now[key] = fingerprint(source)
            has_other_data = now[key] not in (None, before)
        if files or has_other_data:
            found.paths.append(path)
            found.files += [name for name in files if name not in found.files]
            found.has_other_data |= has_other_data
    return found


def changed_modules(run: Path, modules: Iterable[str]) -> list[str]:
    """The files of imported modules that have changed since the run imported them.

    Raises ConfigError if its run.json is damaged. A run without one, or with other files, counts as unchanged.
    """
    record = run / "run.json"
    code = read_json(record).get("code") if record.exists() else None
    files = {Path(file).resolve() for name in modules if (file := getattr(sys.modules.get(name), "__file__", None))}
    recorded = code.items() if isinstance(code, dict) else ()
    known = {name: digest for name, digest in recorded if PROJECT / name in files}
    return changed_files(known, current_digests(known))


def _readable(code: Iterable[str]) -> list[str]:
    """The names without devices and huge files, which the record of someone else may have; they count as changed."""
    return [name for name in code if not (file := PROJECT / name).exists() or _is_source(file)]


def _is_source(file: Path) -> bool:
    return file.is_file() and file.stat().st_size <= MOST_BYTES and file.resolve().parts[1] not in ("proc", "sys")


def source_state(sources: Iterable[Path]) -> str:
    """A digest of the names, sizes and modification times of files, also those in folders: cheap, without content."""
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
    """The fingerprint of a data config; None if the data module has none, or cannot be read."""
    from litmus.data.protocol import complete_data_module
    from litmus.runs.building import build

    try:
        return complete_data_module(build(OmegaConf.create(config))).fingerprint()
    except (ConfigError, OSError):
        return None


def data_fingerprint_elsewhere(config: Any) -> str | None:
    """The same in a new process, so that this one imports no torch."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(data_fingerprint, config).result()


def set_aside(path: Path) -> Path:
    """Renames a run directory that is replaced. Reports leave it out."""
    to = path.with_name(f"{path.name}{SET_ASIDE}{datetime.now():%Y%m%d-%H%M%S-%f}")
    path.rename(to)
    return to


def _has_progress(path: Path) -> bool:
    parts = ("result.json", "checkpoints/last.ckpt")
    return (path / "run.json").exists() and any((path / part).exists() for part in parts)
