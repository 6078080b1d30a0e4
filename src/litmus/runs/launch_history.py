"""The commands that started a run or a sweep."""

import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from litmus.runs.records import read_record


def append_launch(record: Path, arguments: Sequence[str]) -> list[dict[str, Any]]:
    """The launches in the file `record`, and the current one."""
    earlier = read_record(record, "starts")["starts"] if record.exists() else []
    command = shlex.join([sys.argv[0], *arguments])
    return [*earlier, {"time": datetime.now().isoformat(timespec="seconds"), "command": command}]
