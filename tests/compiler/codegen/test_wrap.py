"""Long statements on several lines: the same Python, no line too long."""

from __future__ import annotations

import ast

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from cortexc.compiler.codegen.wrap import LIMIT, wrap

NAMES = st.from_regex(r"[a-z]{1,12}(_[0-9]{1,2})?", fullmatch=True).filter(lambda n: n.isidentifier())


def expressions() -> st.SearchStrategy[str]:
    def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        items = st.lists(inner, min_size=1, max_size=9)
        return st.builds(lambda f, xs: f"f_{f}({', '.join(xs)})", NAMES, items) | items.map(
            lambda xs: f"({', '.join(xs)},)"
        )

    return st.recursive(NAMES.map(lambda n: f"v_{n}"), grown, max_leaves=40)


@given(expressions(), st.lists(NAMES.map(lambda n: f"v_{n}"), min_size=1, max_size=30), st.integers(0, 2))
@settings(max_examples=60, deadline=None, phases=(Phase.explicit, Phase.generate), report_multiple_bugs=False)
def test_says_the_same_on_short_lines(right: str, left: list[str], depth: int) -> None:
    statement = f"{', '.join(left)} = {right}"
    lines = wrap(statement, depth)
    # One more for the comma behind an item that just fits; a single name may be as long as it is.
    assert all(len(line) <= LIMIT + 1 or "," not in line.strip().rstrip(",") for line in lines)
    assert all(line.startswith("    " * depth) for line in lines)
    text = "\n".join(line[4 * depth :] for line in lines)
    assert ast.dump(ast.parse(text)) == ast.dump(ast.parse(statement))


def test_what_fits_stays() -> None:
    assert wrap("y = f(a, b)") == ["    y = f(a, b)"]


def test_items_share_lines() -> None:
    lines = wrap(f"y = f({', '.join(f'argument_{i}' for i in range(20))})")
    assert lines[0] == "    y = f(" and lines[-1] == "    )" and len(lines) == 5


@pytest.mark.parametrize("end", [":", ","])
def test_an_ending_goes_last(end: str) -> None:
    assert wrap("f(a)", depth=0, end=end) == [f"f(a){end}"]
    assert wrap(f"f({'a, ' * 60}b)", depth=0, end=end)[-1] == f"){end}"
