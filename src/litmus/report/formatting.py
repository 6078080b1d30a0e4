"""Formats metrics, numbers and axis labels."""

NAMES = {"train": "training", "val": "validation", "test": "test", "gap": "gap in"}
KINDS = {"acc": "accuracy", "loss": "loss", "cost": "cost"}
NATS = ("cross_entropy", "label_smoothing", "focal", "bce")


def is_percentage(metric: str) -> bool:
    return metric.endswith("/acc")


def scaled(metric: str, value: float) -> float:
    """In display units: accuracies in percent."""
    return 100 * value if is_percentage(metric) else value


def title(metric: str) -> str:
    part, _, kind = metric.partition("/")
    return f"{NAMES.get(part, part)} {KINDS.get(kind, kind)}".strip()


def unit(metric: str, losses: set[str]) -> str:
    """The unit of a metric, empty if it has none. `losses` are the options of group `loss` among the runs, on which the
    unit of a loss depends.
    """
    if is_percentage(metric):
        return "percentage points" if metric.startswith("gap/") else "%"
    if not metric.endswith(("/loss", "/cost")):
        return ""
    if len(losses) != 1:
        return "of unlike losses"
    loss = next(iter(losses))
    return f"{loss.replace('_', ' ')}{', nats' if loss in NATS else ''}"


def axis(metric: str, losses: set[str]) -> str:
    found = unit(metric, losses)
    return f"{title(metric)} ({found})" if found else title(metric)


def format_metric(metric: str, value: float | None, sign: bool = False) -> str:
    """A metric as tables show it: accuracies in percent with two digits, others with four."""
    if value is None:
        return "–"
    digits = 2 if is_percentage(metric) else 4
    rounded = round(scaled(metric, value), digits) + 0.0  # no minus before a zero
    return f"{rounded:{'+' if sign and rounded else ''}.{digits}f}".replace("-", "−")


def format_p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def format_value(value: int | float | str | None) -> str:
    """A config value, short: four digits, and small or large numbers as 1e-4."""
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.4g}"
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
