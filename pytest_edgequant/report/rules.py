"""The documentation's table of legality rules, as Markdown."""

from __future__ import annotations

from pytest_edgequant.measure.legality import RULES


def rule_table() -> list[str]:
    """One row a rule: its name, where it holds, what breaks it, what happens then."""
    rows = [f"| `{r.name}` | {r.runtime} | {r.summary} | {r.severity} |" for r in RULES]
    return ["| rule | on | what | then |", "| --- | --- | --- | --- |", *rows]


if __name__ == "__main__":
    print("\n".join(rule_table()))
