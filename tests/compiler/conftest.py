"""Goldens: small texts beside the tests, written anew by `pytest tests/compiler --update-golden`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

GOLDEN = Path(__file__).parents[1] / "golden"
LONGEST = 20  # lines; one construct a golden

torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the goldens of the tests that run")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Compare a text with `tests/golden/<test file>/<test>.txt`."""
    test_file = Path(str(request.node.path))
    path = GOLDEN / test_file.parent.name / test_file.stem.removeprefix("test_") / f"{request.node.originalname}.txt"

    def check(text: str) -> None:
        assert len(text.splitlines()) <= LONGEST, "a golden shows one construct"
        if request.config.getoption("--update-golden", default=False):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return check
