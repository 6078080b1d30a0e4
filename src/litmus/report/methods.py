"""A paragraph with the numbers that the methods section of a paper needs. What was not recorded is said to be so."""

from collections.abc import Iterable, Sequence

from litmus.core.counts import format_count
from litmus.report.comparison_plan import Plan
from litmus.report.comparison_results import ArmResult, deviations, is_complete, seeds_needed
from litmus.report.formatting import title
from litmus.report.settings import Comparison
from litmus.report.statistics import POWER
from litmus.report.verdicts import amount
from litmus.runs.reading import Run, Value

UNKNOWN = "not recorded"
PARTS = {"train": "training", "val": "validation", "test": "test"}
SHARED = (
    "Runs with the same seed share the split of the images, the order of the data and, where shapes agree, the "
    "initialization."
)


def methods_of_settings(comparison: Comparison, delta: float | None = None) -> str:
    runs, metric = comparison.runs, comparison.metric
    counts = [len(setting.all(metric)) for setting in comparison.settings]
    sentences = [
        f"We trained {format_count(len(comparison.settings), 'setting')} on {_data(runs)}, each with "
        f"{_range(counts)} random seeds ({_list(run.seed for run in runs)}).",
        SHARED,
        _training(runs),
        _test_use(runs),
        f"Settings were compared by the mean paired difference in {title(metric)} over common seeds, with paired t "
        "tests, Holm's correction over all comparisons with the best setting, and simultaneous 95 % intervals "
        f"(Bonferroni){_equivalence(metric, delta)}. The best setting was chosen by the same runs.",
        _made_with(runs),
    ]
    return " ".join(sentences) + "\n"


def methods_of_comparison(plan: Plan, results: Sequence[ArmResult]) -> str:
    evaluated = [run for result in results for run in result.runs.values()]
    trials = [run for result in results for run in result.trials]
    tuned = ", ".join(f"{key} in {text}" for key, text in plan.space.items())
    sentences = [f"We compared {format_count(len(plan.arms), 'setting')} on {_data(evaluated)}."]
    if plan.space:
        sentences.append(
            f"Before the comparison, {tuned} was tuned for each of them with {format_count(plan.trials, 'trial')} "
            f"({' '.join(plan.search)}) by {title(plan.objective)}, with the seed {plan.tuning_seed}."
        )
    seeds = min(seeds_needed(plan, results), plan.max_seeds)
    sentences.append(f"Each setting was then run with the {seeds} seeds 0 to {seeds - 1}, which tuning had not used.")
    test = "paired t tests"
    if plan.detect is not None:
        test = "Stein's two-stage t tests"
        sentences.append(
            f"The number of seeds follows from a pilot of {plan.seeds} by Stein's two-stage rule, for a difference of "
            f"{amount(plan.metric, plan.detect)} and a power of {POWER:.0%}, limited to {plan.max_seeds}."
        )
    sentences += [
        SHARED,
        _training([*evaluated, *trials]),
        _test_use(evaluated),
        f"The plan was written before the first run. {format_count(len(plan.contrasts), 'planned contrast')} in "
        f"{title(plan.metric)}: {test} on the paired differences, Holm's correction, simultaneous 95 % intervals "
        f"(Bonferroni){_equivalence(plan.metric, plan.equivalence)}.",
        _made_with([*evaluated, *trials]),
    ]
    if not is_complete(plan, results):
        sentences.insert(0, "THE COMPARISON IS INCOMPLETE; these numbers are preliminary.")
    if found := deviations(plan, results):
        sentences.append(f"Deviations from the plan: {' '.join(found)}")
    return " ".join(sentences) + "\n"


def _data(runs: Sequence[Run]) -> str:
    sizes = [
        f"{_list((run.images[part] for run in runs if part in run.images), ',')} {name}" for part, name in PARTS.items()
    ]
    return f"{_list(run.choices.get('data', UNKNOWN) for run in runs)} ({', '.join(sizes)} images)"


def _training(runs: Sequence[Run]) -> str:
    planned = _list(run.config.get("trainer.max_epochs", UNKNOWN) for run in runs)
    sizes = _list(run.config.get("data.batch_size", UNKNOWN) for run in runs)
    chosen = _list(title(run.objective_name) for run in runs)
    return (
        f"A run had at most {planned} epochs ({_range([run.epochs for run in runs])} were trained) with batches of "
        f"{sizes} images; its best epoch was chosen by {chosen}."
    )


def _test_use(runs: Sequence[Run]) -> str:
    tested = sum(any(name.startswith("test/") for name in run.metrics) for run in runs)
    if not tested:
        return "The test images were not used."
    which = "each run" if tested == len(runs) else f"{tested} of {len(runs)} runs"
    return f"The test images were used once per run, on its best epoch, in {which}."


def _equivalence(metric: str, delta: float | None) -> str:
    return "" if delta is None else f", and two one-sided tests of equivalence within {amount(metric, delta)}"


def _made_with(runs: Sequence[Run]) -> str:
    names = {"torch": "torch", "torchvision": "torchvision", "pytorch-lightning": "PyTorch Lightning"}
    versions = ", ".join(f"{shown} {_fact(runs, f'version of {name}')}" for name, shown in names.items())
    gpu = _fact(runs, "gpu")
    device = f"the CPU with {_fact(runs, 'threads')} thread(s)" if gpu in ("None", UNKNOWN) else gpu
    return (
        f"The runs took {sum(run.seconds for run in runs) / 60:.1f} minutes of training in total, on {device} "
        f"({_fact(runs, 'machine')}), with Python {_fact(runs, 'python')}, {versions} and Litmus "
        f"{_fact(runs, 'version of litmus-template')} (commit {_fact(runs, 'git_commit')})."
    )


def _fact(runs: Sequence[Run], name: str) -> str:
    return _list(run.circumstances.get(name, UNKNOWN) for run in runs)


def _list(values: Iterable[Value], grouping: str = "") -> str:
    distinct = sorted(set(values), key=lambda value: (isinstance(value, str), value))
    shown = [f"{value:{grouping}}" if grouping and isinstance(value, int) else str(value) for value in distinct]
    return ", ".join(shown) or UNKNOWN


def _range(counts: Sequence[int]) -> str:
    if not counts:
        return UNKNOWN
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"
