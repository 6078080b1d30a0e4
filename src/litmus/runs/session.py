"""An open run directory: its first files, its log, its lock."""

import logging
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import OmegaConf

from litmus.core.atomic_files import remove_drafts
from litmus.core.checkpoint_io import write_json, write_text
from litmus.core.digests import combine_digests
from litmus.core.tensorboard import write_config
from litmus.errors import ConfigError, DirectoryInUse, Diverged, StoppedRun, require
from litmus.runs.checkpoints import FORMAT, check_resumable
from litmus.runs.code_version import imported_code, write_patch
from litmus.runs.directory import discard_if_empty, discard_if_refused, lock_directory
from litmus.runs.distributed import end_with_the_first, is_rank_zero
from litmus.runs.identity import resolve_environment
from litmus.runs.interruption import handle_signals, translate_errors
from litmus.runs.launch_history import append_launch
from litmus.runs.log_file import log_to_file
from litmus.runs.model_building import model_name
from litmus.runs.preparation import Preparation
from litmus.runs.provenance import collect_environment, device_label
from litmus.runs.resume import describe_other_threads
from litmus.runs.run import Run
from litmus.runs.stale import set_aside, source_state

log = logging.getLogger("litmus")


@contextmanager
def open_session(run: Run, prepared: Preparation) -> Iterator[None]:
    """Locks the run directory, writes its first files, and keeps train.log until the end.

    Processes other than the first write nothing. Raises ConfigError if the checkpoint there cannot be resumed.
    """
    trainer = prepared.trainer
    if not is_rank_zero():
        log.setLevel(logging.ERROR)
        end_with_the_first(trainer)
        yield
        return
    if run.last_checkpoint:
        check_resumable(run.last_checkpoint, run.config, prepared.model)
    with (
        _replace_stale(run),
        handle_signals(trainer, run.path, run.in_sweep),
        translate_errors(trainer, run.path),
        discard_if_empty(run.path),
        lock_directory(run.path),
        discard_if_refused(run.path),
    ):
        require(
            run.result is None,
            f"another process has completed {run.path} meanwhile; the same command shows its result",
        )
        record = run.path / "run.json"
        is_resumed, has_started_before = run.last_checkpoint is not None, record.exists()
        remove_drafts(run.path)
        caution = describe_other_threads(record) if is_resumed else None
        _write_first_files(run, prepared.data)
        (run.path / "result.json").unlink(missing_ok=True)
        with log_to_file(log, run.path / "train.log"), translate_errors(trainer, run.path):
            _log_summary(run, prepared, is_resumed, has_started_before)
            if caution is not None and trainer.strategy.root_device.type == "cpu":
                log.warning(caution)
            for logger in trainer.loggers:
                write_config(logger, run.config, run.choices)
            yield


@contextmanager
def _replace_stale(run: Run) -> Iterator[None]:
    """Renames the directory of a run that `stale=rerun` replaces, and renames it back if the new run is refused.

    Some options are only checked when training starts, so a run can be refused until its first checkpoint.
    """
    if not run.is_replaced:
        yield
        return
    with lock_directory(run.path):
        old = set_aside(run.path)
    log.info(f"the run made with other code or data is now {old} (stale=rerun)")
    run.is_replaced = False
    try:
        yield
    except (ConfigError, StoppedRun) as error:
        if run.last_checkpoint is None and not isinstance(error, Diverged | DirectoryInUse):
            shutil.rmtree(run.path, ignore_errors=True)
            old.rename(run.path)
            log.info(f"the new run is refused, so the old one is {run.path} again")
        raise


def _write_first_files(run: Run, data: Any) -> None:
    record = run.path / "run.json"
    code = imported_code()
    starts = append_launch(record, sys.argv[1:])
    fingerprint, sources = data.fingerprint(), data.sources()
    starts[-1] |= {"code": combine_digests(code.digests), "data": fingerprint}
    facts: dict[str, Any] = {"format": FORMAT, "config_hash": run.hash, "overrides": run.overrides}
    facts |= {"choices": run.choices, **collect_environment(), "starts": starts}
    facts["images"] = {part: data.size(part) for part in ("train", "val", "test")}
    if sources is not None:
        facts |= {"data_sources": [str(path) for path in sources], "data_state": source_state(sources)}
    write_json(record, {**facts, "data_fingerprint": fingerprint, "code": code.digests, "modules": code.modules})
    write_patch(run.path / "code.patch", code.digests)
    saved = resolve_environment(run.cfg)
    saved.output_dir = None  # the directory may be moved
    saved.resume = None
    write_text(run.path / ".hydra" / "config.yaml", OmegaConf.to_yaml(saved))
    write_text(run.path / ".hydra" / "overrides.yaml", OmegaConf.to_yaml(OmegaConf.create(run.overrides)))


def _log_summary(run: Run, prepared: Preparation, is_resumed: bool, has_started_before: bool) -> None:
    data, model, trainer = prepared.data, prepared.model, prepared.trainer
    sizes = " / ".join(f"{data.size(part):,}" for part in ("train", "val", "test"))
    parameters = sum(p.numel() for p in model.network.parameters())
    shape = "×".join(str(side) for side in data.image_shape)
    log.info(
        f"{model_name(model)} with {parameters:,} parameters on {data.name}, {sizes} images of {shape} in "
        f"{data.num_classes:,} classes to train / validate / test{'' if prepared.has_test else ' (so no test)'}, "
        f"on the {device_label(trainer.strategy.root_device)}"
    )
    if (profile := getattr(trainer.profiler, "filename", None)) is not None:  # type: ignore[attr-defined]
        log.info(f"the profiler's table will be in {trainer.profiler.dirpath}/fit-{profile}.txt")  # type: ignore[attr-defined]
    for note in getattr(data, "notes", []):  # your own data module may lack them
        log.info(note)
    if is_resumed:
        log.info(f"resuming from {run.last_checkpoint}")
    elif has_started_before:
        log.info(f"{run.path} has no completed epoch, so training starts from the first epoch")
