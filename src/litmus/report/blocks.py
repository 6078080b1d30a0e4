"""Building blocks of a page, before they are HTML or Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Heading:
    text: str


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Table:
    """`keys` holds what a column is sorted by where that is not its text, one list for each row."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    keys: Sequence[Sequence[float | str]] = ()


@dataclass(frozen=True)
class Code:
    lines: Sequence[str]


@dataclass(frozen=True)
class Image:
    """A PNG in the report's folder, with a caption that says all that is needed to read it."""

    file: str
    caption: str

    @property
    def alt(self) -> str:
        return self.caption.split(": ")[0].split(". ")[0]


@dataclass(frozen=True)
class Folded:
    """Blocks that are shown when asked for."""

    title: str
    blocks: Sequence["Block"] = field(default_factory=list)


Block = Heading | Paragraph | Table | Code | Image | Folded
