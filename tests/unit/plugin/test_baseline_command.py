"""The command that accepts what got worse, whatever the run was called with."""

from __future__ import annotations

import shlex

import pytest

from pytest_edgequant.plugin.baseline_command import command, repeated, stops_early


@pytest.mark.parametrize(
    "given, kept",
    [
        ("", ""),
        ("--edge-target=pico tests/test_a.py::test_it -n 2", None),
        ("--edge-target pico,rpi4 --edge-strict -m edge -p no:randomly", None),
        ("-x", ""),
        ("--exitfirst --maxfail=1 --maxfail 3", ""),
        ("--lf --last-failed --ff --failed-first --nf --new-first", ""),
        ("--lfnf=none --lfnf all --last-failed-no-failures none", ""),
        ("--sw --stepwise --sw-skip --stepwise-skip --sw-reset --stepwise-reset", ""),
        ("-k size tests", "tests"),
        ("-ksize tests", "tests"),
        ("-k=size tests", "tests"),
        ("-k 'size and not -x' tests", "tests"),
        ("-xvk size tests", "-v tests"),
        ("-xvksize tests", "-v tests"),
        ("-vx -xq -sx", "-v -q -s"),
        ("-xn 2 -xn4 -n=2", "-n 2 -n4 -n=2"),
        ("-mx -rx -o xfail_strict=true -W error::x", None),
        ("-p x -px", None),
        ("--deselect a::b --deselect=a::c a", "a"),
        ("--edge-baseline=b.json --edge-baseline b.json --edge-report r.html", ""),
        ("--edge-save-baseline=b.json --edge-cache-dir /c --edge-baseline-optional", ""),
        ("--edge-baseline-prune tests", "tests"),
        ("-v -- -x", "-v -- -x"),
        ("--junitxml=x.xml --color=no - -", None),
    ],
)
def test_what_chose_fewer_tests_or_stopped_early_is_left_out(given: str, kept: str | None) -> None:
    assert repeated(shlex.split(given)) == shlex.split(given if kept is None else kept)


@pytest.mark.parametrize(
    "defaults, early",
    [
        ("", False),
        ("-x", True),
        ("-qx", True),
        ("--exitfirst", True),
        ("--maxfail=2", True),
        ("--maxfail 2", True),
        ("-rx -ra -k x -p x -mx", False),
        ("--strict-markers", False),
    ],
)
def test_what_every_run_has_does_not_stop_this_one(defaults: str, early: bool) -> None:
    given = shlex.split(defaults)
    assert stops_early(given) is early
    assert ("--maxfail=0" in command([], given, "b.json")) is early


def test_the_command_is_quoted_and_names_the_file() -> None:
    text = command(["tests/my file.py", "--edge-target=pi*", "--", "-odd"], ["-x"], "../a b.json")
    assert text == (
        "pytest 'tests/my file.py' '--edge-target=pi*' --maxfail=0 "
        "'--edge-save-baseline=../a b.json' -- -odd"
    )
