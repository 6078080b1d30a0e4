"""Blocks as one self-contained HTML page."""

import base64
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from litmus.report.blocks import Block, Code, Folded, Heading, Image, Lead, Paragraph, Table

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #111; background: #fff;
  max-width: 1200px; margin: 2em auto; padding: 0 1.5em }
h1 { font-size: 1.6em } h2 { font-size: 1.25em; margin-top: 2em; border-bottom: 1px solid #ccc }
.wide { overflow: auto; max-height: 80vh }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1em 0 }
th, td { padding: .25em .8em; text-align: left; border-bottom: 1px solid #ddd; white-space: nowrap }
th { white-space: normal; vertical-align: bottom; min-width: 3em; position: sticky; top: 0; background: #fff }
td:last-child { white-space: normal }
td.n, th.n { text-align: right }
th button { all: unset; cursor: pointer; font-weight: 600 }
th button:focus-visible { outline: 2px solid #0072b2 }
th[aria-sort=ascending] button::after { content: " ▲" } th[aria-sort=descending] button::after { content: " ▼" }
figure { margin: 1.5em 0; overflow-x: auto } figure img { max-width: 100%; min-width: 34em }
.lead { font-size: 1.1em; max-width: 55em; border-left: 4px solid #0072b2; padding-left: .8em }
figcaption, .note { color: #444; max-width: 60em }
pre { background: #f4f4f4; padding: .8em 1em; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 13px }
summary { cursor: pointer; margin: 1em 0 }
@media print { .wide { overflow: visible; max-height: none } }
"""

SCRIPT = """
for (const button of document.querySelectorAll("th button")) button.onclick = () => {
  const th = button.parentNode, body = th.closest("table").tBodies[0];
  const down = th.ariaSort === "ascending";
  for (const other of th.parentNode.cells) other.ariaSort = null;
  th.ariaSort = down ? "descending" : "ascending";
  const key = row => row.cells[th.cellIndex].dataset.k ?? row.cells[th.cellIndex].textContent;
  const compare = (a, b) => {
    const [x, y] = [key(a), key(b)], [m, n] = [Number(x), Number(y)];
    if (x === "" || y === "") return (x === "") - (y === "");  // what is lacking stays last
    return (isNaN(m) || isNaN(n) ? x.localeCompare(y) : m - n) * (down ? -1 : 1);
  };
  body.append(...[...body.rows].sort(compare));
};
"""


def html(title: str, blocks: Sequence[Block], folder: Path, reload_after: int | None = None) -> str:
    """A self-contained page: the images are read from `folder` and embedded.

    With `reload_after`, the page loads itself again after so many seconds.
    """
    body = "\n".join(_block(block, folder) for block in blocks)
    refresh = f'<meta http-equiv="refresh" content="{reload_after}">\n' if reload_after else ""
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width">\n{refresh}<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n<h1>{escape(title)}</h1>\n{body}\n"
        f"<script>{SCRIPT}</script>\n</html>\n"
    )


def _block(block: Block, folder: Path) -> str:
    match block:
        case Heading(text):
            return f"<h2>{escape(text)}</h2>"
        case Paragraph(text):
            return f'<p class="note">{escape(text)}</p>'
        case Lead(text):
            return f'<p class="lead">{escape(text)}</p>'
        case Table():
            return _table(block)
        case Code(lines):
            return f"<pre>{escape(chr(10).join(lines))}</pre>"
        case Image(file, caption):
            data = base64.b64encode((folder / file).read_bytes()).decode()
            image = f'<img alt="{escape(block.alt)}" src="data:image/png;base64,{data}">'
            return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"
        case Folded(title, inner):
            inside = "\n".join(_block(one, folder) for one in inner)
            return f"<details><summary>{escape(title)}</summary>{inside}</details>"


def _table(table: Table) -> str:
    numeric = [_is_numeric(table, i) for i in range(len(table.columns))]
    marks = ['class="n"' if is_number else "" for is_number in numeric]
    head = "".join(
        f'<th scope="col" {mark}><button type="button">{_breakable(name)}</button></th>'
        for name, mark in zip(table.columns, marks, strict=True)
    )
    rows = []
    for i, row in enumerate(table.rows):
        keys = table.keys[i] if table.keys else row
        cells = zip(row, keys, marks, strict=True)
        rows.append("".join(f'<td {mark} data-k="{escape(str(key))}">{escape(text)}</td>' for text, key, mark in cells))
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _breakable(name: str) -> str:
    return re.sub(r"([._])", r"\1<wbr>", escape(name))


def _is_numeric(table: Table, column: int) -> bool:
    return bool(table.keys) and all(isinstance(keys[column], int | float) or keys[column] == "" for keys in table.keys)
