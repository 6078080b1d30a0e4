"""Paths as they are typed, flags anywhere, and what the terminal lacks."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CONF
from hydra.core.override_parser.overrides_parser import OverridesParser

from litmus.cli.arguments import read_flags, read_paths
from litmus.cli.overrides import check
from litmus.cli.streams import prepare_streams
from litmus.errors import ConfigError

NAMES = [
    "plain/dir",
    "été",
    "a[1]",
    "a=b",
    "a, b",
    "a{b}",
    "(1)",
    "it's",
    'say "x"',
    "back\\slash",
    "50%",
    "a:b",
    "01",
    "1e3",
    "#x",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_path_is_read_as_it_is_typed(name):
    (argument,) = read_paths([f"output_dir={name}"], multirun=False)
    (override,) = OverridesParser.create().parse_overrides([argument])
    assert override.value() == name


@pytest.mark.parametrize("argument", ["output_dir='a b'", "model.init_from=null", "data.root=${oc.env:HOME}/x"])
def test_what_hydra_reads_by_itself_stays(argument):
    assert read_paths([argument], multirun=False) == [argument]


def test_a_home_directory_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert read_paths(["data.root=~/my pets"], multirun=False) == ["data.root=/home/me/my pets"]


def test_commas_separate_the_paths_of_a_sweep():
    arguments = ["data.root=a,b", "model.init_from=été,a=b", "sweep_name=a, b"]
    assert read_paths(arguments, multirun=True) == ["data.root=a,b", "model.init_from='été','a=b'", "sweep_name='a, b'"]


@pytest.mark.parametrize("key", ["resume", "output_dir", "sweep_name", "data.root", "data.path", "data.data_dir"])
@pytest.mark.parametrize("value", ["", "''", " "])
def test_an_empty_path_is_refused(key, value):
    with pytest.raises(ConfigError, match=f"{key}=.* is empty.*variable"):
        read_paths([f"{key}={value}"], multirun=False)


def test_other_values_get_the_argument_to_type():
    with pytest.raises(ConfigError, match=r"""type "model.activation='a\[1\]'"$"""):
        check(["model.activation=a[1]"], CONF)


def test_flags_may_stand_anywhere():
    found, flags = read_flags(["data=synthetic", "-m", "seed=0,1"])
    assert (found.multirun, found.overrides, flags) == (True, ["data=synthetic", "seed=0,1"], ["-m"])
    assert check(["data=synthetic", "-m", "seed=0,1"], CONF) == ["-m", "data=synthetic", "seed=0,1"]


@pytest.mark.parametrize("option", ["hydra.run.dir", "hydra.sweep.dir", "hydra.output_subdir", "hydra.job.chdir"])
def test_places_of_hydra_are_refused(option):
    with pytest.raises(ConfigError, match=option):
        check([f"{option}=x"], CONF)


def test_mode_multirun_of_hydra_is_a_sweep():
    check(["hydra.mode=MULTIRUN", "seed=0,1", "sweep_name=a"], CONF)


@pytest.fixture
def more(tmp_path) -> Path:
    """A folder of options outside conf/."""
    (tmp_path / "more" / "optim").mkdir(parents=True)
    (tmp_path / "more" / "optim" / "radam.yaml").write_text("_target_: torch.optim.RAdam\n_partial_: true\nlr: 1e-3\n")
    return tmp_path / "more"


@pytest.mark.parametrize("flag", ["--config-dir {}", "hydra.searchpath=[file://{}]"])
def test_options_of_another_folder_are_checked_like_those_of_conf(more, flag):
    arguments = flag.format(more).split()
    check([*arguments, "optim=radam", "optim.lr=0.1"], CONF)
    with pytest.raises(ConfigError, match=r"optim.lrr does not exist: did you mean optim.lr\?"):
        check([*arguments, "optim=radam", "optim.lrr=0.1"], CONF)


def test_a_missing_folder_of_options_is_named(tmp_path):
    with pytest.raises(ConfigError, match="--config-dir .*nothing"):
        check(["--config-dir", str(tmp_path / "nothing")], CONF)


def test_characters_that_the_terminal_lacks_are_replaced(monkeypatch):
    screen = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(screen, encoding="ascii"))
    monkeypatch.setattr(sys, "stderr", None)
    prepare_streams()
    null = sys.stderr
    print("0.9 ± 0.1 of 1×28×28 in été", flush=True)
    print("lost", file=sys.stderr)
    null.close()
    assert screen.getvalue() == b"0.9 +- 0.1 of 1x28x28 in ?t?\n"


def run(code: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, **options)


def test_an_interrupt_during_imports_shows_no_traceback():
    done = run("import litmus.cli, os, signal; os.kill(os.getpid(), signal.SIGINT); import time; time.sleep(9)")
    assert (done.returncode, done.stderr) == (-2, "")


SCRIPT = """
from litmus import cli

def main():
    {}

main.__code__ = main.__code__.replace(co_filename='{}/scripts/a.py')
cli.script(main)()
"""


@pytest.mark.parametrize(
    ("line", "status", "sentence"),
    [
        ("open('/proc/self/mem/x')", 2, "error: /proc/self/mem/x: a part of this path is a file"),
        ("open('a' * 300)", 2, "the name is too long"),
        ("import yaml; yaml.safe_load(open('bad.yaml'))", 2, "error: bad.yaml, line 3, is not valid YAML"),
        ("raise ModuleNotFoundError('`x` is required: pip install x')", 2, "error: `x` is required: pip install x"),
        ("raise KeyError('a fault of Litmus')", 1, "KeyError: 'a fault of Litmus'"),
        ("raise ValueError('x') from KeyboardInterrupt()", 130, ""),
    ],
)
def test_what_the_machine_refuses_is_one_sentence(tmp_path, line, status, sentence):
    (tmp_path / "bad.yaml").write_text("a: 1\nb: [1\n")
    done = run(SCRIPT.format(line, tmp_path), cwd=tmp_path)
    assert done.returncode == status
    assert sentence in done.stderr
    assert ("Traceback" in done.stderr) == (status == 1)


def test_a_script_ends_quietly_when_nobody_reads_its_output(tmp_path):
    command = SCRIPT.format("print('x' * 100_000)", tmp_path)
    done = subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.stdout is not None
    assert done.stderr is not None
    done.stdout.close()
    assert (done.stderr.read(), done.wait()) == (b"", 141)
    done.stderr.close()
