"""Tables of the commands, in plain text."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence


def columns(
    rows: Sequence[Sequence[str]], headings: Sequence[str], right: Collection[int] = ()
) -> Iterator[str]:
    """The lines of a table; the columns at the positions `right` end alike, others begin alike.

    A column in which no row says anything is left out.
    """
    shown = [i for i in range(len(headings)) if any(row[i] not in ("", "-") for row in rows)]
    cells = [[row[i] for i in shown] for row in [headings, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(shown))]

    def line(row: Sequence[str]) -> str:
        padded = (
            text.rjust(width) if shown[i] in right else text.ljust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(padded).rstrip()

    yield line(cells[0])
    yield "  ".join("-" * width for width in widths)
    yield from map(line, cells[1:])
