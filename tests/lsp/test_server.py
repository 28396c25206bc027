"""The server without a process: what it needs, and what it does without pygls."""

from __future__ import annotations

import subprocess
import sys

from cortexc.lsp.complete import complete
from cortexc.lsp.hover import hover


def test_needs_no_torch() -> None:
    """Hover counts parameters through the compiler, and still loads no torch."""
    code = (
        "import sys; from cortexc.lsp import server, hover; server.make_server()\n"
        "assert 'parameters' in hover.hover('AX', 0)[0]\n"
        "print([m for m in ('torch', 'tensordict', 'triton') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_without_pygls() -> None:
    """Without the extra, the verb says how to get it."""
    code = (
        "import sys; sys.modules['pygls'] = sys.modules['lsprotocol'] = None\n"
        "from cortexc.cli import main; sys.argv = ['cortexc', 'lsp']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "cortexc[lsp]" in done.stderr


def test_hover_adds_up() -> None:
    """The parts of a layer, with its router, are the layer; the layers are the stack but for its norm."""

    def params(text: str, offset: int) -> int:
        found = hover(text, offset)
        assert found is not None
        line = next(line for line in found[0].splitlines() if "parameters" in line)
        return int(line.split()[0].replace(",", ""))

    text = "A M{top_k=1} / S with d_hidden=32"
    column = params(text, 1)  # the space between two experts is the column
    assert column > params(text, 0) + params(text, 2)
    assert params(text, text.index("/")) == column + params(text, text.index("S")) + 2 * 32


def test_hover_is_silent_where_nothing_is_known() -> None:
    """Texts with errors, comments, and places outside the pattern."""
    assert hover("AQ", 0) is None
    assert hover("# note\nA", 2) is None
    assert hover("X with d_hidden=6", 0) is None


def test_completion_of_any_prefix() -> None:
    """Whatever is typed so far, completion answers."""
    text = 'let Q = preup(M(num_heads=8), 1.5)\nset XLCore.mem_len = 64\n["AX", Q] x2 | tissue 4x4 {slstm: 1} r=2'
    text += " with d_hidden=8 adapter_rank=2"
    for offset in range(len(text) + 1):
        assert all(item.text for item in complete(text[:offset], offset))
