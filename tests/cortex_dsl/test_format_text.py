"""The formatter keeps what a text says."""

from __future__ import annotations

import pytest

from cortexc.cortex_dsl import CortexSyntaxError, format_text

from .support import quiet
from .test_patterns import FILE

CASES = [
    ("AXMS", "AXMS"),
    ("A X  M", "AXM"),
    ("Y,X^,Q", "Y X^ Q"),
    ('["AXMS", "AM^S"]', "AXMS / AM^S"),
    ("(AXMS)x2 M^", "(AXMS) x2 / M^"),
    ("(M x7/S)x6", "(M x7 / S) x6"),
    ("X(mem_len=64)M(num_heads=8)S*2", "X(mem_len=64) M(num_heads=8) S S"),
    ("AX(mem_len=64)MS", "A X(mem_len=64) M S"),
    ("A@preup(2.0) M^@adapter(bottleneck=32)", "A@preup(2.0) M^@adapter(bottleneck=32)"),
    ("AXMS{top_k=2,temperature=0.7}x4 with d_hidden=256 post_norm=true",
     "AXMS{top_k=2, temperature=0.7} x4 with d_hidden=256 post_norm=true"),
    ("AXMS x2|AXMS x2", "AXMS x2 | AXMS x2"),
    ("AXMS/tissue 32x32 {slstm:0.7,axon:0.3} r=1 h=16 mode=stream/M^",
     "AXMS / tissue 32x32 {slstm: 0.7, axon: 0.3} r=1 h=16 mode=stream / M^"),
    ("A\nX\nM", "A / X / M\n"),
    ("# head\n\nlet Q=M # mine\n\n\n\nA Q\n# tail\n", "# head\nlet Q = M  # mine\n\nA Q\n# tail\n"),
    ("A /\n# why\nX\n", "# why\nA / X\n"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "canonical"), CASES)
def test_cases(written: str, canonical: str) -> None:
    """K9-K16: the canonical spelling; comments and definitions stay; idempotent."""
    assert format_text(written) == canonical
    assert format_text(canonical) == canonical


def test_file_keeps_its_meaning() -> None:
    """A formatted file gives the same spec."""
    once = format_text(FILE)
    assert quiet(once) == quiet(FILE)
    assert format_text(once) == once
    assert once.splitlines()[:2] == ["# demo.cortex", "let Q = preup(mlstm(num_heads=8), proj_factor=1.5)"]


def test_wrong_text_is_not_formatted() -> None:
    """A text with a mistake stays as it is."""
    with pytest.raises(CortexSyntaxError, match="E107"):
        format_text("A / / X")
