"""`docs/codes.md` from the codes: `python -m cortexc.cortex_dsl.codes_page > docs/codes.md`."""

from __future__ import annotations

import sys
from textwrap import fill

from .codes import CODES

WIDTH = 120
# A text that shows its code by its size would not help a reader.
LONGEST = 100


def markdown() -> str:
    """The whole page."""
    lines = [
        "# Codes of errors and warnings",
        "",
        "`cortexc explain CODE` prints the same. E1 is about text, E2 names, E3 options, E4 files, E5 sizes,",
        "E6 limits, W3 packages, W4 backends, W7 the text.",
        "This page is generated: `python -m cortexc.cortex_dsl.codes_page > docs/codes.md`.",
    ]
    for code in CODES.values():
        lines += ["", f"## {code.code}: {code.title}", "", fill(code.text, WIDTH, break_on_hyphens=False)]
        for title, text in (("Wrong:", code.bad), ("Right:", code.good)):
            if text and len(code.bad) < LONGEST:
                lines += ["", title, "", "```cortex", text, "```"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown())
