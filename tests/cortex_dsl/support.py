"""What several test files share."""

from __future__ import annotations

import warnings
from pathlib import Path

from cortexc.cortex_dsl import CortexStackConfig, CortexWarning, parse, token_of

GOLDEN = Path(__file__).parent / "golden"


def pairs(name: str) -> list[tuple[str, str]]:
    """The `left -> right` lines of a golden file."""
    lines = (GOLDEN / name).read_text(encoding="utf-8").splitlines()
    found = [tuple(line.split(" -> ")) for line in lines if line and not line.startswith("#")]
    assert found
    return [(left, right) for left, right in found]


def shape(spec: CortexStackConfig) -> str:
    """The experts of each layer by token."""
    return " / ".join(" ".join(token_of(e) for e in getattr(layer, "experts", (layer,))) for layer in spec.scaffolds)


def quiet(text: str, **options: object) -> CortexStackConfig:
    """`parse` without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CortexWarning)
        return parse(text, **options)  # type: ignore[arg-type]
