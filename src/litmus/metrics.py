"""What the names of the metrics mean."""


def mode(name: str) -> str:
    """`max` for accuracies, `min` for everything else."""
    return "max" if name.endswith("/acc") and not name.startswith("gap/") else "min"


def is_better(name: str, value: float, than: float) -> bool:
    return value > than if mode(name) == "max" else value < than
