"""A page as a tree, for tests that ask what is where rather than which characters follow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "hr", "input"}


@dataclass
class Element:
    """An element: its tag, attributes and children, and the text that stands before each child."""

    tag: str
    attributes: dict[str, str | None]
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text within, without that of styles, each run of spaces as one."""
        return " ".join(" ".join(self._texts()).split())

    def _texts(self) -> Iterator[str]:
        for child in self.children:
            if isinstance(child, str):
                yield child
            elif child.tag not in ("style", "title"):
                yield from child._texts()

    def all(self, tag: str | None = None, cls: str | None = None) -> Iterator[Element]:
        """The elements within of a tag, and of a class, in their order."""
        for child in self.children:
            if isinstance(child, Element):
                classes = (child.attributes.get("class") or "").split()
                if (tag is None or child.tag == tag) and (cls is None or cls in classes):
                    yield child
                yield from child.all(tag, cls)

    def one(self, tag: str, text: str = "", cls: str | None = None) -> Element:
        """The first element of a tag in which this text stands."""
        return next(found for found in self.all(tag, cls) if text in found.text)

    def within(self, ancestor: str, tag: str, text: str) -> Element:
        """The innermost `ancestor` of an element with just this text."""
        return [
            outer
            for outer in self.all(ancestor)
            if any(inner.text == text for inner in outer.all(tag))
        ][-1]

    @property
    def rows(self) -> list[list[str]]:
        """The rows of a table's body, cell by cell."""
        return [
            [cell.text for cell in row.all() if cell.tag in ("th", "td")]
            for body in self.all("tbody")
            for row in body.all("tr")
        ]


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Element("page", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parse_page(source: str) -> Element:
    """The page; unbalanced tags are an error."""
    parser = _Parser()
    parser.feed(source)
    assert len(parser.open) == 1
    return parser.open[0]
