import importlib.util
import re

import pytest
from conftest import ROOT


def benchmark():
    spec = importlib.util.spec_from_file_location("benchmark", ROOT / "scripts" / "benchmark" / "__main__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_contestants_take_turns_and_are_compared(tmp_path, capsys):
    script = benchmark()
    script.epochs(script.Case("A small one", "mlp", 16, "200", epochs=3), 1, tmp_path, against=["hand1"])
    title, _, *rows = capsys.readouterr().out.strip().splitlines()
    assert title == "**A small one**, seconds of an epoch, 1 rounds"
    cells = {row.split("|")[1].strip(): re.findall(r"\d+\.\d\d", row) for row in rows[2:]}
    assert list(cells) == [script.NAMES[name] for name in ("hand", "litmus", "hand1")]
    assert cells[script.NAMES["hand"]][3] == "1.00"
    assert all(len(figures) == 6 for figures in cells.values())


@pytest.mark.slow
def test_a_first_step_is_found_in_its_run(tmp_path):
    assert benchmark().first_step(tmp_path) > 0
    assert not list(tmp_path.iterdir())
