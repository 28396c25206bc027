"""The generated files: as many functions as there are distinct layers, readable, and clean to Python itself."""

from __future__ import annotations

import ast
import builtins
import re
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path

import pytest

from cortexc.compiler import Artifact, build
from cortexc.cortex_dsl import parse, resolve

PATTERNS = ("A", "AXMS x4", "AX / MS", "A X(mem_len=5) M(chunk_size=4) S x2", "AAXXMMSSAX")
WIDEST = 120  # characters; tables of numbers in the files of recurrences may be half as long again


@cache
def made(pattern: str, backend: str = "triton") -> Artifact:
    return build(resolve(parse(pattern, d_hidden=16)), backend=backend, pattern=pattern)


def functions(text: str) -> dict[str, ast.FunctionDef]:
    return {n.name: n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef)}


def test_one_function_for_each_distinct_layer_and_mode() -> None:
    assert list(functions(made("AXMS x4").files["module.py"])) == [
        "column_axms",
        "sequence",
        "column_axms_step",
        "step",
    ]
    two = list(functions(made("AX / MS / AX").files["module.py"]))
    assert two == ["column_ax", "column_ms", "sequence", "column_ax_step", "column_ms_step", "step"]
    assert list(functions(made("AXMS x4", "reference").files["module.py"])) == ["column_axms", "sequence"]


def test_equal_names_of_different_layers_are_told_apart() -> None:
    text = made("X(mem_len=3) / X(mem_len=4) / X(mem_len=3)").files["module.py"]
    assert list(functions(text))[:3] == ["column_x", "column_x_2", "sequence"]
    assert re.findall(r"range\((\d), (\d)\)", text)[:3] == [("0", "1"), ("1", "2"), ("2", "3")]


@pytest.mark.parametrize("backend", ["triton", "eager", "reference"])
def test_text_does_not_grow_with_depth(backend: str) -> None:
    shallow, deep = (made(f"AXMS x{n}", backend).files for n in (4, 40))
    assert shallow.keys() == deep.keys()
    for path in shallow:
        if path.endswith(".py"):
            assert len(shallow[path].splitlines()) == len(deep[path].splitlines()), path


@pytest.mark.parametrize("pattern", PATTERNS)
def test_lines_can_be_read(pattern: str) -> None:
    for path, text in made(pattern).files.items():
        if path.endswith(".py"):
            longest = max(text.splitlines(), key=len)
            written = path in ("module.py", "kernels/regions.py", "__init__.py")
            assert len(longest) <= (WIDEST if written else 1.5 * WIDEST), f"{path}: {longest}"


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("backend", ["triton", "reference"])
def test_names_never_hide_imports_or_each_other(pattern: str, backend: str) -> None:
    """Locals are assigned once, and none is called what the module imports, an argument, or a used builtin."""
    tree = ast.parse(made(pattern, backend).files["module.py"])
    imported = {a.asname or a.name for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names}
    assert {"F", "torch"} < imported
    for name, function in functions(made(pattern, backend).files["module.py"]).items():
        if name in ("sequence", "step"):
            continue
        stored = [n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        assert len(stored) == len(set(stored)), name
        assert not set(stored) & (imported | {"p", "x", "state", "resets"}), name
        loaded = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        assert loaded <= set(stored) | imported | {"p", "x", "state", "resets", "torch"}, name
        assert not loaded & vars(builtins).keys()


def test_comments_name_the_place_in_the_pattern() -> None:
    """`A X(mem_len=5) M(chunk_size=4) S x2`: where each token stands, line and column."""
    text = made("A X(mem_len=5) M(chunk_size=4) S x2").files["module.py"]
    experts = ("A (expert 0) at 1:1", "X (expert 1) at 1:3", "M (expert 2) at 1:16", "S (expert 3) at 1:32")
    for place in ("column AXMS at 1:1", *experts):
        assert text.count(f"\n    # {place}\n") >= 2, place  # in both modes
    lines = text.splitlines()
    first = lines.index("    # S (expert 3) at 1:32")
    assert "enter_lane(3, " in lines[first + 1]
    assert "e3.norm1.weight" in lines[first + 2]


INSIDE = {
    "AX / layer(L)": ("column AX at 1:1", "L at 1:12"),
    "A column(X, C)": ("column A (column XC) at 1:1", "column XC (expert 1) at 1:3 > X (expert 0) at 1:10"),
    "A column(X, C)@adapter": ("(column XC)@adapter (expert 1) at 1:3 > C (expert 1) at 1:13",),
    "preup(lstm) M^@postup@adapter": ("column lstm@preup M^@adapter at 1:1", "M^@adapter (expert 1) at 1:13"),
}


@pytest.mark.parametrize("pattern", INSIDE)
def test_comments_name_what_is_inside_what(pattern: str) -> None:
    text = made(pattern, "eager").files["module.py"]
    assert [place for place in INSIDE[pattern] if f"\n    # {place}\n" not in text] == []


def test_comments_of_configs_have_no_place() -> None:
    from cortexc.compiler.alone import as_stack
    from cortexc.cortex_dsl import AxonCellConfig, ColumnScaffoldConfig, CortexStackConfig, LSTMCoreConfig

    column = ColumnScaffoldConfig(experts=(AxonCellConfig(), AxonCellConfig()))
    stack = resolve(CortexStackConfig(d_hidden=16, scaffolds=(column,)))
    assert "\n    # column AA\n" in build(stack, backend="eager").files["module.py"]
    spec, part = as_stack(LSTMCoreConfig(hidden_size=16), 16)
    assert "\n    # lstm\n" in build(spec, part=part, backend="eager").files["module.py"]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("backend", ["triton", "eager", "reference"])
def test_python_has_nothing_to_complain_about(pattern: str, backend: str, tmp_path: Path) -> None:
    folder = made(pattern, backend).write(tmp_path, "package")
    files = sorted(map(str, folder.rglob("*.py")))
    assert len(files) >= 3
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "py_compile", *files], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_the_header_says_what_it_was_made_from() -> None:
    text = ast.get_docstring(ast.parse(made("AXMS x4").files["module.py"]))
    assert text.startswith("AXMS x4 at width 16, backend triton: generated by cortexc ")
    assert "passes: fold, common_subexpressions, merge_linears, dead_code, fuse_pointwise, name_regions" in text


def test_the_same_pattern_gives_the_same_text() -> None:
    spec = resolve(parse("AXMS x2", d_hidden=16))
    one, two = (build(spec, backend="triton", pattern="AXMS x2") for _ in range(2))
    assert one.files == two.files and one.hash == two.hash


@pytest.mark.parametrize("comment", ['# a "quoted" one', '# """ three', "# back\\slash", "# {package} {name}"])
def test_a_comment_in_the_pattern_does_no_harm(comment: str, tmp_path: Path) -> None:
    """A pattern stands in docstrings, so quotes and backslashes in it must not end them."""
    pattern = f"A {comment}"
    folder = build(resolve(parse(pattern, d_hidden=16)), backend="eager", pattern=pattern).write(tmp_path, "package")
    text = (folder / "__init__.py").read_text()
    compile(text, "__init__.py", "exec")
    assert ast.get_docstring(ast.parse(text)).startswith(f"{pattern} — compiled by")


@pytest.mark.parametrize("comment", ['# """ three', "# back\\slash"])
def test_nor_to_the_module(comment: str) -> None:
    pattern = f"A {comment}"
    text = build(resolve(parse(pattern, d_hidden=16)), backend="eager", pattern=pattern).files["module.py"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compile(text, "module.py", "exec")
    assert ast.get_docstring(ast.parse(text)).startswith(pattern)
