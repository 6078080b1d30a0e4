"""The version of the code that a run imported: a digest per file. Imports no torch."""

import ast
import functools
import hashlib
import json
import site
import sys
import sysconfig
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from litmus.core.atomic_files import write_text
from litmus.core.git import git

PROJECT = Path(__file__).resolve().parents[3]  # the folder of train.py
# Packages of Litmus in which no change alters what a run computes.
NOT_OF_A_RUN = ("litmus.cli", "litmus.sweeps", "litmus.report", "litmus.inference", "hydra_plugins")
CACHE = Path(__file__).parent / "__pycache__" / "code_digests.json"  # parsing all of Litmus takes 0.5 s
MISSING = "missing"
MOST_BYTES = 2**20  # of code.patch

_imported: dict[Path, str] = {}


def imported_files() -> dict[str, str]:
    """The digest of each project file that this process has imported, by its path relative to the project.

    Project files are those of Litmus that take part in a run, train.py, and all that is neither installed nor part of
    Python. A file outside the project has its absolute path.
    """
    return digests([path for path in _imported_paths() if path not in _imported]) | {
        _name(path): digest for path, digest in _imported.items()
    }


def remember_imported() -> None:
    """Fixes the digests of what is imported now, for a process whose forks run later, when files may have changed."""
    paths = _imported_paths()
    _imported.update(zip(paths, digests(paths).values(), strict=True))


def _imported_paths() -> list[Path]:
    files = {
        file
        for name, module in list(sys.modules.items())
        if name not in ("__main__", "__mp_main__")
        and not _is_left_out(name)
        and (file := _project_file(module)) is not None
    }
    return sorted(files | {PROJECT / "train.py"})


def _project_file(module: object) -> Path | None:
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or not file.endswith(".py") or file.startswith(_installed_folders()):
        return None
    path = Path(file)
    return path.resolve() if path.is_absolute() and path.exists() else None


def digests(files: Iterable[Path]) -> dict[str, str]:
    """Digests of the syntax of Python files, which comments, docstrings and formatting do not change."""
    known = _read_cache()
    before = len(known)
    found = {_name(file): _digest(file, known) for file in files}
    if len(known) > before:
        _write_cache(known)
    return found


def current_digests(names: Collection[str]) -> dict[str, str]:
    """The digests of recorded files as they are now, by their recorded names."""
    now = digests(PROJECT / name for name in names)  # an absolute path stays as it is
    return {name: now[_name(PROJECT / name)] for name in names}


def changed_files(recorded: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Those of the recorded files that differ `now`, or are missing."""
    return [name for name, digest in recorded.items() if now[name] != digest]


def differing_files(runs: Iterable[Mapping[str, str]]) -> list[str]:
    """The files of which the runs, each with its digests by file, have imported different versions."""
    versions: dict[str, set[str]] = {}
    for files in runs:
        for name, digest in files.items():
            versions.setdefault(name, set()).add(digest)
    return sorted(name for name, found in versions.items() if len(found) > 1)


def write_patch(file: Path, imported: Iterable[str]) -> None:
    """Writes what differs from the commit, with the untracked imported files; nothing if all is committed."""
    tracked = git(PROJECT, "diff", "HEAD", "--no-color", "--no-ext-diff")
    if tracked is None:  # not a repository, or no commit
        return
    listed = git(PROJECT, "ls-files", "--others", "--exclude-standard", "--full-name", "--", *_inside(imported)) or ""
    parts = [tracked, *(_new_file(name) for name in listed.splitlines())]
    text = "".join(part if part.endswith("\n") or not part else f"{part}\n" for part in parts)
    size = len(text.encode())
    if size > MOST_BYTES:
        kept = MOST_BYTES - 100  # which leaves room for the line
        text = f"# The first {kept:,} of {size:,} bytes.\n{text.encode()[:kept].decode(errors='ignore')}"
    if text:
        write_text(file, text)


def _inside(files: Iterable[str]) -> Sequence[str]:
    return [name for name in files if not Path(name).is_absolute()] or ["train.py"]


def _new_file(name: str) -> str:
    with suppress(OSError, UnicodeDecodeError):
        lines = (PROJECT / name).read_text().splitlines()
        header = f"diff --git a/{name} b/{name}\nnew file mode 100644\n--- /dev/null\n+++ b/{name}\n"
        return f"{header}@@ -0,0 +1,{len(lines)} @@\n" + "".join(f"+{line}\n" for line in lines) if lines else ""
    return ""


def _is_left_out(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in NOT_OF_A_RUN)


@functools.cache
def _installed_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    names = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders = [Path(name) for name in [*names, *site.getsitepackages(), site.getusersitepackages()]]
    return tuple({f"{path}/" for folder in folders for path in (folder, folder.resolve())})


def _name(path: Path) -> str:
    return str(path.relative_to(PROJECT)) if path.is_relative_to(PROJECT) else str(path)


def _digest(file: Path, known: dict[str, str]) -> str:
    try:
        source = file.read_bytes()
    except OSError:
        return MISSING
    content = hashlib.sha256(source).hexdigest()
    if content not in known:
        known[content] = _syntax_digest(source) or content
    return known[content]


def _syntax_digest(source: bytes) -> str | None:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            del node.body[0]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _cache_key() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"  # whose syntax trees may differ


def _read_cache() -> dict[str, str]:
    with suppress(OSError, ValueError):
        cached = json.loads(CACHE.read_text())
        if cached.get("python") == _cache_key():
            return dict(cached["digests"])
    return {}


def _write_cache(known: Mapping[str, str]) -> None:
    with suppress(OSError):  # a read-only installation
        write_text(CACHE, json.dumps({"python": _cache_key(), "digests": known}))
