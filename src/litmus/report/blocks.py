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
class Lead:
    """A sentence that the reader should see first."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table. `keys` holds the sort keys of a column where they are not its text, one list per row."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    keys: Sequence[Sequence[float | str]] = ()


@dataclass(frozen=True)
class Code:
    lines: Sequence[str]


@dataclass(frozen=True)
class Image:
    """A PNG in the report folder, with a caption that explains it."""

    file: str
    caption: str

    @property
    def alt(self) -> str:
        return self.caption.split(": ")[0].split(". ")[0]


@dataclass(frozen=True)
class Folded:
    """Blocks that are collapsed until opened."""

    title: str
    blocks: Sequence["Block"] = field(default_factory=list)


Block = Heading | Paragraph | Lead | Table | Code | Image | Folded
