"""A whole session with `cortexc lsp` over standard input and output, as an editor has it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import pytest


class Editor:
    """The client's side of the protocol: headers and JSON."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "cortexc.cli", "lsp"]
        self.process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.messages: Queue[dict[str, Any]] = Queue()
        self.kept: list[dict[str, Any]] = []
        self.count = 0
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def _listen(self) -> None:
        out = self.process.stdout
        assert out is not None
        while line := out.readline():
            size = int(line.split(b":")[1])
            while out.readline().strip():
                pass
            self.messages.put(json.loads(out.read(size)))

    def send(self, method: str, params: dict[str, Any], number: int | None = None) -> None:
        body = {"jsonrpc": "2.0", "method": method, "params": params} | ({} if number is None else {"id": number})
        data = json.dumps(body).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(data), data))
        self.process.stdin.flush()

    def ask(self, method: str, **params: Any) -> Any:
        self.count += 1
        self.send(method, params, self.count)
        answer = self.wait(lambda m: m.get("id") == self.count)
        assert "error" not in answer, answer
        return answer["result"]

    def wait(self, wanted: Any) -> dict[str, Any]:
        for message in self.kept:
            if wanted(message):
                self.kept.remove(message)
                return message
        while True:
            assert self.process.poll() is None, self.process.stderr and self.process.stderr.read().decode()
            message = self.messages.get(timeout=60)
            if wanted(message):
                return message
            self.kept.append(message)

    def open(self, uri: str, text: str) -> list[dict[str, Any]]:
        document = {"uri": uri, "languageId": "cortex", "version": 1, "text": text}
        self.send("textDocument/didOpen", {"textDocument": document})
        return self.diagnostics(uri, 1)

    def change(self, uri: str, text: str, version: int) -> list[dict[str, Any]]:
        document = {"uri": uri, "version": version}
        self.send("textDocument/didChange", {"textDocument": document, "contentChanges": [{"text": text}]})
        return self.diagnostics(uri, version)

    def diagnostics(self, uri: str, version: int) -> list[dict[str, Any]]:
        def ours(message: dict[str, Any]) -> bool:
            params = message.get("params", {})
            found = message.get("method") == "textDocument/publishDiagnostics"
            return found and params["uri"] == uri and params.get("version") == version

        return self.wait(ours)["params"]["diagnostics"]


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    folder = tmp_path_factory.mktemp("work")
    editor = Editor(folder)
    options = editor.ask("initialize", processId=None, rootUri=folder.as_uri(), capabilities={})["capabilities"]
    assert options["hoverProvider"]
    assert options["documentFormattingProvider"]
    assert options["completionProvider"]["triggerCharacters"]
    editor.send("initialized", {})
    yield editor
    editor.ask("shutdown")
    editor.send("exit", {})
    editor.listener.join(timeout=30)
    _, errors = editor.process.communicate(timeout=30)
    assert editor.process.returncode == 0
    assert b"Traceback" not in errors


def at(uri: str, line: int, character: int) -> dict[str, Any]:
    return {"textDocument": {"uri": uri}, "position": {"line": line, "character": character}}


def test_diagnostics_come_and_go(editor: Editor) -> None:
    """Errors and warnings with code and range at every change; the fix of one as a quick fix that mends it."""
    uri = "file:///project/errors.cortex"
    text = "# × counts as one unit, 😀 as two\nA^ / AX(mem_length=64)MS / M with d_hidden=250"
    found = editor.open(uri, text)
    assert [(d["code"], d["severity"]) for d in found] == [("W701", 2), ("E301", 1)]
    assert found[1]["range"] == {"start": {"line": 1, "character": 8}, "end": {"line": 1, "character": 18}}
    params = {"textDocument": {"uri": uri}, "range": found[1]["range"], "context": {"diagnostics": []}}
    (action,) = editor.ask("textDocument/codeAction", **params)
    (edit,) = action["edit"]["changes"][uri]
    assert edit["newText"] == "mem_len"
    mended = text.replace("mem_length", "mem_len")
    assert {d["code"] for d in editor.change(uri, mended, 2)} == {"W701", "E502"}
    assert editor.change(uri, "A / AX(mem_len=64)MS with d_hidden=252", 3) == []


def test_wide_characters_move_the_range(editor: Editor) -> None:
    """A position counts UTF-16 units: an emoji before the mistake is two."""
    uri = "file:///project/wide.cortex"
    (found,) = editor.open(uri, 'include "😀.cortex"\nA\n')
    assert found["code"] == "E401"
    assert found["range"]["end"]["character"] == len('include "😀.cortex"') + 1


def test_definitions_alone_are_right(editor: Editor) -> None:
    """A file that others include has no layers of its own."""
    assert editor.open("file:///project/library.cortex", "let Q = M(num_heads=8)\n") == []


def test_hover(editor: Editor) -> None:
    """The part under the cursor: every value with its origin, and what it costs."""
    uri = "file:///project/hover.cortex"
    assert editor.open(uri, "AX(mem_len=3)S x2 / M\n") == []
    answer = editor.ask("textDocument/hover", **at(uri, 0, 1))
    text = answer["contents"]["value"]
    assert "**X**" in text
    assert "1,313,920 parameters" in text
    assert "| core.mem_len | `3` | option at 1:4 |" in text
    assert answer["range"]["start"] == {"line": 0, "character": 1}
    assert "**stack** — 3 layers" in editor.ask("textDocument/hover", **at(uri, 0, 18))["contents"]["value"]


@pytest.mark.parametrize(
    ("text", "some"),
    [
        ("", {"let", "A", "X^", "mlstm"}),
        ("let Q = M\nA", {"Q", "S"}),
        ("A@", {"preup", "adapter"}),
        ("AX(", {"mem_len", "use_axon_qkv"}),
        ("A(activation=", {"gelu", "tanh"}),
        ("AXMS{", {"top_k", "alpha_init"}),
        ("A with ", {"d_hidden", "adapter_rank", "num_layers"}),
        ("set ", {"XLCore", "Router"}),
        ("set XLCore.", {"mem_len"}),
        ("recipe:", {"xlstm_7_1", "axms_x4"}),
        ("preup(", {"mlstm", "proj_factor"}),
    ],
)
def test_completion(editor: Editor, text: str, some: set[str]) -> None:
    """Tokens, options, values, scaffolds, types and recipes, each where it may stand."""
    uri = f"file:///project/complete_{abs(hash(text))}.cortex"
    editor.open(uri, text)
    lines = text.split("\n")
    items = editor.ask("textDocument/completion", **at(uri, len(lines) - 1, len(lines[-1])))["items"]
    assert some <= {i["label"] for i in items}


def test_formatting(editor: Editor) -> None:
    """The whole text in its canonical spelling; nothing for a text that does not parse."""
    uri = "file:///project/format.cortex"
    editor.open(uri, "# mine\n( A,X )x2   M\n")
    params = {"textDocument": {"uri": uri}, "options": {"tabSize": 4, "insertSpaces": True}}
    (edit,) = editor.ask("textDocument/formatting", **params)
    assert edit["newText"] == "# mine\n(AX) x2 / M\n"
    editor.change(uri, edit["newText"], 2)
    assert editor.ask("textDocument/formatting", **params) == []
    editor.change(uri, "A ( / M", 3)
    assert editor.ask("textDocument/formatting", **params) is None
