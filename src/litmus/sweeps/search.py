"""Hyperparameter search with Optuna: jobs are chosen as results arrive."""

import logging
from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import Any

from omegaconf import DictConfig, OmegaConf

from litmus.core.counts import format_count
from litmus.core.seeds import epoch_seed
from litmus.errors import require, whole_number
from litmus.runs.identity import sweep_folder
from litmus.runs.monitors import objective
from litmus.runs.stale import data_fingerprint_elsewhere, find_changes
from litmus.sweeps import study
from litmus.sweeps.jobs import Composer, Job, JobOutcome, Settings
from litmus.sweeps.leaderboard import JobResult, Row, ranked
from litmus.sweeps.space import Interval, Space, fixed
from litmus.sweeps.versions import version_columns

log = logging.getLogger("litmus")


class Search:
    """The trials of one study, which is kept in a database and can be continued.

    The settings of a trial depend on its number, the seed of the sampler and the trials that ended before it, so that
    an interrupted study chooses the same as an uninterrupted one.
    """

    over = False
    after_failures = ""

    def __init__(self, space: Space, composer: Composer, config: DictConfig):
        self.composer, self.options = composer, config.sampler
        self.name = str(config.sweep_name)
        self.fixed = fixed(space)
        self.space = {key: values for key, values in space.items() if key not in self.fixed}
        self.keys = list(self.space)
        require(bool(self.keys), "there is nothing to search: give a key several values, or an interval")
        require(
            "seed" not in self.keys,
            "a search compares settings, so it takes one seed: search first, then run the best ones with seed=0,1,2",
        )
        sample = self._try_out().config
        runs = {path.parent: sample for path in sweep_folder(self.name).glob("*/run.json")}
        changes = find_changes(runs, data_fingerprint_elsewhere)
        changes.require_answer(config.stale, "choose another sweep_name")
        changes.warn_if_kept(config.stale)
        self.objective, self.mode = str(sample.objective), objective(sample).mode
        self.seed = sample.seed
        require(
            sample.data.get("val_size") != 0,
            "data.val_size=0 leaves no validation part for a search to choose by: leave it out",
        )
        OmegaConf.update(sample, "pruner", OmegaConf.to_container(config.pruner), merge=False)
        self.pruner = study.build("pruner", sample.pruner)
        self.prunes = not sample.pruner._target_.endswith(".NopPruner")
        require(
            not self.prunes or sample.accelerator.devices == 1,
            "pruning works with one device for each trial; set pruner=none or accelerator.devices=1",
        )
        self.grid = self._grid() if "points" in self.options else []
        self.total = self._count(config.n_trials)
        self.introduction = f"a search of {format_count(self.total, 'trial')}"
        self.running: dict[int, Any] = {}

    def _try_out(self) -> Job:
        """Composes every choice of options with some values, and returns the first."""
        values = {key: [str(v.low)] if isinstance(v, Interval) else v for key, v in self.space.items()}
        values = {key: v if self.composer.is_group(key) else v[:1] for key, v in values.items()}
        choices = [dict(zip(values, choice, strict=True)) for choice in product(*values.values())]
        jobs = [self.composer.job(self.fixed | choice, self.keys) for choice in choices]
        return jobs[0]

    def _grid(self) -> list[dict[str, Any]]:
        """Every combination, with the number of points of the sampler in each interval."""
        count = whole_number("sampler.points", self.options.points, least=1)
        axes: list[list[Any]] = [v.points(count) if isinstance(v, Interval) else v for v in self.space.values()]
        return [dict(zip(self.keys, combination, strict=True)) for combination in product(*axes)]

    def _count(self, n_trials: Any) -> int:
        wanted = n_trials if n_trials is not None else self.options.get("n_trials")
        if self.grid:
            return min(len(self.grid), whole_number("n_trials", wanted or len(self.grid), least=1))
        return whole_number("n_trials", wanted, least=1)

    def open(self) -> None:
        """Opens the study, and logs what it contains."""
        searched = {key: str(values) for key, values in self.space.items()}
        signature = {**self.fixed, **searched, "objective": self.objective}
        self.study = study.open(self.name, self.options.storage, self.mode, signature)
        self.study.pruner = self.pruner
        for combination in self.grid[: self.total]:
            self.study.enqueue_trial(combination, skip_if_exists=True)
        self.left_over = study.stale_trials(self.study)
        self.done = study.count(self.study, finished=True)
        if self.done or self.left_over:
            log.info(f"{format_count(self.done, 'trial')} done already, {len(self.left_over)} taken up again")

    def jobs(self) -> Iterator[Job]:
        for frozen in self.left_over:
            yield self._choose(study.take_up(self.study, frozen))
        while study.count(self.study) < self.total:
            trial = self.study.ask()
            if trial.number >= self.total:  # another machine has taken the trial
                self.study.tell(trial, state=study.state("FAIL"))
                return
            yield self._choose(trial)

    def _choose(self, trial: Any) -> Job:
        study.sign(trial)
        self.study.sampler = self._sampler(trial.number)
        if not study.reported(trial):
            trial.should_prune()  # Hyperband creates its brackets, which TPE uses too, at the first call
        chosen: Settings = {key: study.suggest(trial, key, values) for key, values in self.space.items()}
        job = self.composer.job(self.fixed | chosen, self.keys)
        self.running[id(job)] = trial
        study.sign(trial, job.path.name)
        return job

    def _sampler(self, number: int) -> Any:
        if self.grid:
            return self.study.sampler
        seed = epoch_seed(whole_number("sampler.seed", self.options.seed, least=0), number, "trial") % 2**32
        return study.build("sampler", self.options.sampler, seed=seed)

    def watch(self, job: Job, epoch: int, value: float) -> bool:
        """Returns whether the trial is to be pruned."""
        trial = self.running[id(job)]
        study.sign(trial, job.path.name)
        if not self.prunes:
            return False
        if epoch not in study.reported(trial):
            trial.report(value, epoch)
        return bool(trial.should_prune())

    def take(self, ended: JobOutcome) -> bool:
        """Reports to the study, and returns whether the job failed. A diverged training is a result too, a bad one."""
        trial = self.running.pop(id(ended.job))
        result = ended.result
        if result is not None:
            trial.set_user_attr("epochs", result["epochs"])
            trial.set_user_attr("val/loss", result["metrics"].get("val/loss"))
            if result.get("pruned") and not study.reported(trial):  # the result is an earlier trial's
                trial.report(result["objective"], result["epochs"])
        if result is not None and not result.get("pruned"):
            self.study.tell(trial, result["objective"], skip_if_finished=True)
        elif result is not None or ended.diverged:
            if ended.diverged:
                trial.set_user_attr("diverged", ended.reason)
            self.study.tell(trial, state=study.state("PRUNED"), skip_if_finished=True)
        else:
            trial.set_user_attr("failed", ended.reason)
            self.study.tell(trial, state=study.state("FAIL"), skip_if_finished=True)
        return result is None and not ended.diverged

    def rows(self) -> tuple[list[str], list[Row]]:
        """The columns of a setting (its keys, and code or data that differ), and the settings."""
        trials = sorted(self.study.get_trials(states=(study.state("COMPLETE"),)), key=study.job_name)
        paths = [sweep_folder(self.name) / study.job_name(trial) for trial in trials]
        data = [str({k: v for k, v in trial.params.items() if k.startswith("data")}) for trial in trials]
        versions = version_columns(dict(zip(paths, data, strict=True)))
        settings = [
            (*(self._text(key, trial.params[key]) for key in self.keys), *(cells[path] for cells in versions.values()))
            for trial, path in zip(trials, paths, strict=True)
        ]
        # A setting that the sampler repeats has one seed, and so one value.
        return [*self.keys, *versions], ranked(
            JobResult(setting, self.objective, self.mode, self.seed, trial.value, trial.user_attrs.get("val/loss"))
            for setting, trial in zip(settings, trials, strict=True)
        )

    def _text(self, key: str, value: Any) -> str:
        span = self.space[key]
        return span.text(value) if isinstance(span, Interval) else str(value)

    def summary(self) -> str:
        trials = self.study.get_trials(deepcopy=False)
        names = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "run elsewhere"}
        states = ["diverged" if "diverged" in t.user_attrs else names.get(t.state.name, "waiting") for t in trials]
        counts = ", ".join(f"{number} {state}" for state, number in Counter(states).items())
        epochs = sum(trial.user_attrs.get("epochs", 0) for trial in trials)
        return f"{format_count(len(trials), 'trial')}: {counts}; {format_count(epochs, 'epoch')}"
