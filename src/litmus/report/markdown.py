"""Blocks as Markdown."""

from collections.abc import Sequence

from litmus.report.blocks import Block, Code, Folded, Heading, Image, Lead, Paragraph, Table


def markdown(title: str, blocks: Sequence[Block]) -> str:
    return "\n\n".join([f"# {_plain(title)}", *map(_block, blocks)]) + "\n"


def _block(block: Block) -> str:
    match block:
        case Heading(text):
            return f"## {_plain(text)}"
        case Paragraph(text):
            return _plain(text)
        case Lead(text):
            return f"**{_plain(text)}**"
        case Table():
            return markdown_table(block)
        case Code(lines):
            return "\n".join(["```sh", *lines, "```"])
        case Image(file, caption):
            return f"![{_cell(block.alt)}]({file.replace(' ', '%20')})\n\n{_plain(caption)}"
        case Folded(title, inner):
            return "\n\n".join([f"<details><summary>{_plain(title)}</summary>", *map(_block, inner), "</details>"])


def markdown_table(table: Table) -> str:
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _plain(text: str) -> str:
    for mark in "<*_":
        text = text.replace(mark, f"\\{mark}")
    return text


def _cell(text: str) -> str:
    return " ".join(_plain(text).replace("|", "\\|").split())
