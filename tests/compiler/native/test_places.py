"""Memory is given out so that nothing that is still read is written over."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cortexc.compiler.ir.types import B, Type
from cortexc.compiler.native.places import ALIGN, Place, Scratch


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 70), st.booleans()), max_size=40))
def test_what_is_held_does_not_overlap(wishes: list[tuple[bool, int, bool]]) -> None:
    scratch, held = Scratch(), {}
    for number, (release, width, shared) in enumerate(wishes):
        if release and held:
            name = next(iter(held))
            scratch.release(name)
            del held[name]
        text = scratch.take(str(number), width, shared)
        start = int(
            text.removeprefix("fixed + " if shared else "scratch + ").removesuffix("" if shared else " * c.rows")
        )
        assert start % ALIGN == 0
        for other_shared, first, size in held.values():
            assert shared != other_shared or start + width <= first or first + size <= start
        held[str(number)] = shared, start, width
        assert start + width <= (scratch.fixed if shared else scratch.rows)


def test_memory_of_the_same_size_is_used_again() -> None:
    scratch = Scratch()
    first = scratch.take("a", 30, False)
    scratch.release("a")
    assert scratch.take("b", 20, False) == first  # both take 32
    assert scratch.take("c", 20, True) != first and (scratch.rows, scratch.fixed) == (32, 32)
    scratch.release("never taken")


def test_what_a_place_knows() -> None:
    row = Place("v", Type("f", (B, 3, 4)))
    assert (row.width, row.shared, row.rows, row.at) == (12, False, "c.rows", "v.at")
    assert (row.piece(0), row.piece(5)) == ("v", "{v.at + 5, v.step}")
    table = Place("w", Type("f", (3, 4)))
    assert (table.width, table.shared, table.rows) == (12, True, "1")
