"""The version of the code that a run imported: a digest per file. Imports no torch."""

import ast
import functools
import hashlib
import json
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from litmus.core.atomic_files import write_text
from litmus.core.digests import combine_digests
from litmus.core.git import git
from litmus.core.imported_sources import ImportedSource, imported_sources
from litmus.core.modules import find_source
from litmus.errors import require

PROJECT = Path(__file__).resolve().parents[3]  # the folder of train.py
OWN = ("litmus", "hydra_plugins", "train", "__main__")  # never another module of the same name
# Packages of Litmus in which no change alters what a run computes.
NOT_OF_A_RUN = ("litmus.cli", "litmus.sweeps", "litmus.report", "litmus.inference", "hydra_plugins")
CACHE = Path(__file__).parent / "__pycache__" / "code_digests.json"  # parsing all of Litmus takes 0.5 s
MISSING = "missing"
MAIN = ("__main__", "__mp_main__")  # the latter in a process of multiprocessing
SHOWN_DIGITS = 7  # of a digest, as of a commit
MOST_BYTES = 2**20  # of code.patch


@dataclass(frozen=True)
class ImportedCode:
    """As run.json records them: the digest of each file, and the file of each module outside Litmus."""

    digests: dict[str, str]
    modules: dict[str, str]


def imported_code() -> ImportedCode:
    """The project files that this process has imported, as they were when it imported them.

    Project files are those of Litmus that take part in a run, train.py, and all that is neither installed nor part of
    Python. They are named by their path relative to the project; a file outside it has its absolute path.
    """
    sources = _project_sources()
    contents = {_name(source.path): source.content for source in sources.values()}
    found = _digests({"train.py": _read(PROJECT / "train.py"), **contents})
    modules = {name: _name(source.path) for name, source in sources.items() if not _is_within(name, OWN)}
    return ImportedCode(dict(sorted(found.items())), modules)


def require_unchanged_modules() -> None:
    """Raises ConfigError if the file of an imported module has changed since.

    Python keeps what it has imported, so a run in this process would use the old code.
    """
    sources = _project_sources()
    before = _digests({name: source.content for name, source in sources.items()})
    now = _digests({name: _read(source.file) for name, source in sources.items()})
    for name, source in sources.items():
        reload = "" if _is_within(name, OWN) else f", or call importlib.reload({name}) and reload what imports it"
        require(
            now[name] in (MISSING, before[name]),
            f"{source.file} has changed since it was imported, and Python keeps the old code; restart the "
            f"kernel{reload}",
        )


def digests(files: Iterable[Path]) -> dict[str, str]:
    """Digests of the syntax of Python files, which comments, docstrings and formatting do not change."""
    return _digests({_name(file): _read(file) for file in files})


def current_digests(names: Collection[str]) -> dict[str, str]:
    """The current digests of recorded files, by their recorded names: of the imported source, or of the file."""
    imported = {_name(source.path): source.content for source in _project_sources().values()}
    # An absolute path stays as it is.
    return _digests({name: imported[name] if name in imported else _read(PROJECT / name) for name in names})


def files_now(modules: Iterable[str]) -> dict[str, str]:
    """The file from which each module was imported or would be imported; leaves out modules without a file."""
    imported = _project_sources()
    found = {name: imported[name].path if name in imported else find_source(name) for name in modules}
    return {name: _name(path) for name, path in found.items() if path is not None}


def changed_files(recorded: Mapping[str, str], now: Mapping[str, str], moved: Mapping[str, str]) -> list[str]:
    """The recorded files that have changed or are missing.

    `moved` has the file that would be imported instead of a recorded one.
    """
    return [
        f"{moved[name]} instead of {name}" if name in moved else name
        for name, digest in recorded.items()
        if now[moved.get(name, name)] != digest
    ]


def differing_files(runs: Iterable[Mapping[str, str]]) -> list[str]:
    """The files that the runs imported in different versions. Each run is given by its digests by file."""
    versions: dict[str, set[str]] = {}
    for files in runs:
        for name, digest in files.items():
            versions.setdefault(name, set()).add(digest)
    return sorted(name for name, found in versions.items() if len(found) > 1)


def code_labels(runs: Sequence[Mapping[str, str]]) -> list[str]:
    """A short digest for the code of each run, of the files that differ among them.

    It is – for a run that imported none of these files, and unknown for one that recorded no code; all are – if nothing
    differs.
    """
    files = differing_files(runs)
    own = [{name: code[name] for name in files if name in code} for code in runs]
    return [
        combine_digests(digests)[:SHOWN_DIGITS] if digests else "–" if code or not files else "unknown"
        for code, digests in zip(runs, own, strict=True)
    ]


def write_patch(file: Path, imported: Iterable[str]) -> None:
    """Writes the difference to the commit and the untracked imported files, if there are any."""
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


def _project_sources() -> dict[str, ImportedSource]:
    """The imported sources of a run, by module. The script itself counts only if it is train.py."""
    return {
        name: source
        for name, source in imported_sources().items()
        if not _is_within(name, NOT_OF_A_RUN) and (name not in MAIN or source.path == PROJECT / "train.py")
    }


def _is_within(module: str, packages: Iterable[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in packages)


def _name(path: Path) -> str:
    return str(path.relative_to(PROJECT)) if path.is_relative_to(PROJECT) else str(path)


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None


def _digests(sources: Mapping[str, bytes | None]) -> dict[str, str]:
    known = _known_digests()
    before = len(known)
    found = {name: MISSING if source is None else _digest(source, known) for name, source in sources.items()}
    if len(known) > before:
        _write_cache(known)
    return found


def _digest(source: bytes, known: dict[str, str]) -> str:
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


@functools.cache  # forks inherit it
def _known_digests() -> dict[str, str]:
    with suppress(OSError, ValueError):
        cached = json.loads(CACHE.read_text())
        if cached.get("python") == _cache_key():
            return dict(cached["digests"])
    return {}


def _write_cache(known: Mapping[str, str]) -> None:
    with suppress(OSError):  # a read-only installation
        write_text(CACHE, json.dumps({"python": _cache_key(), "digests": known}))
