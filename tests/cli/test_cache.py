"""`cortexc cache`: what is there, why a compile hits or misses, and that clearing takes only what is ours."""

import json
import os
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cortexc
from cortexc import cache
from cortexc.cli import cached
from cortexc.cli.app import app
from cortexc.cli.cached import age_text

DEVICE, TRITON = "Test 9000", "3.9.0"
ENTRY = {
    "kernel": "slstm [16,256,4x64] half backward",
    "key": {},
    "choice": {"warps": 8},
    "built_in_ms": 1.02,
    "ms": 0.94,
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch) -> Path:
    """An empty cache of this test's own."""
    monkeypatch.setenv("CORTEXC_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def filled(folder: Path) -> dict[str, Path]:
    """Two packages, a table and a damaged table; the second package is ten days old."""
    places = {
        "new": cortexc.compile("A", d_hidden=8, backend="eager").folder,
        "old": cortexc.compile("X", d_hidden=8, backend="reference").folder,
        "table": cache.write_table(cache.table_path(DEVICE, TRITON), DEVICE, TRITON, [ENTRY]),
        "damaged": cache.tuning_dir() / "broken.json",
    }
    places["damaged"].write_text("{")
    then = time.time() - 10 * cached.DAY
    os.utime(places["old"], (then, then))
    return places


def run(*args: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["cache", *args])
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.stderr


# -- ls --------------------------------------------------------------------------------------------------------------


def test_ls(filled, folder):
    lines = run("ls").splitlines()
    assert lines[0].split() == ["hash", "backend", "dtype", "d_hidden", "size", "age", "pattern"]
    assert lines[1].split()[:4] == [filled["new"].name, "eager", "float32", "8"] and lines[1].endswith("s  A")
    assert lines[2].split()[:2] == [filled["old"].name, "reference"] and lines[2].endswith("10 d  X")
    assert "tuned on Test 9000, Triton 3.9.0, 0 s ago" in lines
    assert "  slstm [16,256,4x64] half backward  1.02 -> 0.94 ms  warps 8" in lines
    assert any(line.startswith("broken.json is damaged and not used: ") for line in lines)
    assert lines[-1].startswith("2 packages, 1 tuned kernel, ") and lines[-1].endswith(f" in {folder}")


def test_ls_of_nothing(folder):
    assert run("ls") == f"0 packages, 0 tuned kernels, 0 B in {folder}\n"
    assert not folder.exists()


def test_ls_as_json(filled):
    document = json.loads(run("ls", "--json"))
    assert document["schema"] == "cortexc.cache-ls/1"
    assert [p["hash"] for p in document["packages"]] == [filled["new"].name, filled["old"].name]
    package = document["packages"][0]
    assert package["manifest"]["pattern"] == "A"
    assert package["bytes"] == sum(p.stat().st_size for p in filled["new"].rglob("*") if p.is_file())
    (broken, table) = sorted(document["tables"], key=lambda t: t["device"] == DEVICE)
    assert table["entries"] == [ENTRY] and not table["problem"] and broken["problem"]
    assert document["bytes"] == sum(x["bytes"] for x in (*document["packages"], *document["tables"]))


def test_ls_fits_a_terminal(filled, on_terminal):
    cortexc.compile(" / ".join(["AXMS"] * 12), d_hidden=8, backend="eager")
    done = on_terminal("cache", "ls", columns=80)
    assert done.code == 0, done.out
    rows = [line for line in done.out.splitlines() if "eager" in line or "reference" in line]
    assert len(rows) == 3 and max(map(len, rows)) <= 80 and "AXMS / AXMS / AXMS / AXMS / A…" in rows[0]


def test_ls_breaks_long_lines_of_tuned_kernels(folder, on_terminal):
    """On a terminal the choice stands under its kernel where both do not fit."""
    choice = {"units": 16, "warps": 4, "slices": 1, "resident": 131072, "piece": 64, "stages": 3}
    long = ENTRY | {"kernel": "slstm [1024,1024,8x512] half backward", "choice": choice}
    cache.write_table(cache.table_path(DEVICE, TRITON), DEVICE, TRITON, [ENTRY, long])
    lines = on_terminal("cache", "ls", columns=80).out.splitlines()
    assert "  slstm [16,256,4x64] half backward  1.02 -> 0.94 ms  warps 8" in lines
    at = lines.index("  slstm [1024,1024,8x512] half backward  1.02 -> 0.94 ms")
    assert lines[at + 1] == "    units 16, warps 4, slices 1, resident 131072, piece 64, stages 3"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3600, "1 h"), (86400, "1 d"), (864000, "10 d")]
)
def test_age(seconds, text):
    assert age_text(seconds) == text


def test_steps_that_were_compiled_for_a_cpu(folder):
    """Counted, and removed alone or with the rest; what a compile that died left goes with them."""
    native = cache.native_dir()
    native.mkdir(parents=True)
    step, other, left = native / f"{'a' * 16}.so", native / "notes.txt", native / f".{'b' * 16}-x7"
    step.write_bytes(b"12345")
    other.write_text("mine")
    left.mkdir()
    os.utime(left, (0, 0))
    assert run("ls") == f"0 packages, 0 tuned kernels, 1 compiled step, 5 B in {folder}\n"
    (found,) = json.loads(run("ls", "--json"))["steps"]
    assert found["path"] == str(step) and found["bytes"] == 5
    run("clear", "--code", "--yes")
    assert step.exists()
    said = run("clear", "--native", "--yes")
    assert said == "removed 0 packages, 1 compiled step and 0 tables of tuned kernels, 5 B\n"
    assert [p.name for p in native.iterdir()] == ["notes.txt"]


# -- why -------------------------------------------------------------------------------------------------------------


def why(*args: str) -> dict[str, str]:
    """The answer by label; lines without one belong to the label above."""
    found: dict[str, str] = {}
    label = ""
    for line in run("why", *args).splitlines():
        label = line[:9].strip() or label
        found[label] = f"{found[label]}\n{line[9:]}" if label in found else line[9:]
    return found


def test_why_a_pattern_hits(filled):
    found = why("A", "--d-hidden", "8", "--backend", "eager")
    assert (found["compile"], found["hash"]) == ("hit: compiling loads it", filled["new"].name)
    assert found["folder"] == str(filled["new"])


@pytest.mark.parametrize(
    ("args", "differs"),
    [
        (("A", "--d-hidden", "16", "--backend", "eager"), "d_hidden: 8 there, 16 now"),
        (("A", "--d-hidden", "8", "--backend", "auto"), "backend: eager there, auto now"),
        (("A", "--d-hidden", "8", "--backend", "eager", "--dtype", "float64"), "dtype: float32 there, float64 now"),
        (("  A", "--d-hidden", "8", "--backend", "eager"), "pattern: A there,   A now"),
    ],
    ids=str,
)
def test_why_a_pattern_misses(filled, args, differs):
    found = why(*args)
    assert found["compile"] == "miss: compiling writes it"
    assert found["nearest"].startswith(filled["new"].name) and found["differs"] == differs
    width = int(args[2])
    dtype = args[args.index("--dtype") + 1] if "--dtype" in args else None
    made = cortexc.compile(args[0], d_hidden=width, backend=args[args.index("--backend") + 1], dtype=dtype)
    assert made.folder.name == found["hash"]  # the key that a compile really has
    assert why(*args)["compile"].startswith("hit")


def test_why_an_option_misses(filled):
    """The spec is told where it differs, a few lines of it."""
    found = why("X(mem_len=3, out_dropout=0.5)", "--d-hidden", "8", "--backend", "reference")
    lines = found["differs"].splitlines()
    assert lines[0] == "pattern: X there, X(mem_len=3, out_dropout=0.5) now"
    assert "spec.scaffolds[0].experts[0].core.mem_len: 128 there, 3 now" in lines


def test_why_damaged(filled):
    (filled["new"] / "module.py").write_text("")
    assert why("A", "--d-hidden", "8", "--backend", "eager")["compile"].startswith("damaged: its files were changed")
    assert why(filled["new"].name)["now"].startswith("damaged: its files were changed")


def test_why_code_that_changed(filled):
    """As after a change of cortexc itself that kept its version: the key is another, the fields are the same."""
    moved = filled["new"].rename(filled["new"].with_name("0123456789ab"))
    (moved / "module.py").write_text("")
    found = why("A", "--d-hidden", "8", "--backend", "eager")
    assert found["differs"] == "generated code: module.py; cortexc itself was changed"
    manifest = json.loads((moved / "manifest.json").read_text())
    manifest["versions"]["cortexc"] = "0.0.1"
    (moved / "manifest.json").write_text(json.dumps(manifest))
    assert why("A", "--d-hidden", "8", "--backend", "eager")["differs"].startswith("cortexc: 0.0.1 there, ")


def test_why_a_hash(filled):
    for text in (filled["old"].name, filled["old"].name[:6]):
        found = why(text)
        assert (found["pattern"], found["hash"]) == ("X", filled["old"].name)
        assert found["target"] == "d_hidden 8, float32, backend reference"
        assert found["now"] == "hit: compiling loads it" and found["made"].endswith(", 10 d ago")
    document = json.loads(run("why", filled["old"].name, "--json"))
    assert (document["schema"], document["hash"]) == ("cortexc.cache-why/1", filled["old"].name)


def test_why_a_core_alone():
    """Compiled from a config, which was never a text."""
    made = cortexc.compile(cortexc.AxonCoreConfig(), d_hidden=8, backend="eager")
    found = why(made.folder.name)
    assert found["target"].endswith("a core alone") and found["now"] == "hit: compiling loads it"


def test_why_nothing(folder):
    assert why("A")["nearest"] == "none, the cache is empty"
    assert "no package 0123456789ab in the cache" in run("why", "0123456789ab", code=1)
    assert "E201" in run("why", "AQ", code=1)


def test_why_switched_off(filled, monkeypatch):
    """`auto` is `eager` where Triton is switched off, and its package is that of `eager`."""
    monkeypatch.setenv("CORTEXC_DISABLE_TRITON", "1")
    assert why("A", "--d-hidden", "8")["compile"].startswith("hit")


# -- clear -----------------------------------------------------------------------------------------------------------


def left(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for part in ("code", "tuning") for p in (folder / part).iterdir()}


@pytest.mark.parametrize(
    ("args", "kept"),
    [
        ("", ""),
        ("--code", "table damaged"),
        ("--tuning", "new old"),
        ("--older-than 5", "new table damaged"),
        ("--older-than 5 --tuning", "new old table damaged"),
        ("--older-than 11", "new old table damaged"),
    ],
)
def test_clear(filled, folder, args, kept):
    said = run("clear", "--yes", *args.split())
    assert " ".join(name for name, path in filled.items() if path.exists()) == kept
    assert len(left(folder)) == len(kept.split())
    assert said.startswith("removed " if len(kept.split()) < 4 else "nothing to remove")


def test_clear_touches_nothing_else(filled, folder, tmp_path):
    """Not what others put there, not what a link leads to, not what is being written."""
    code = folder / "code"
    (code / "notes").mkdir()
    (code / "0123456789ab").mkdir()  # named as ours, and holds no manifest of ours
    (code / "precious.txt").write_text("")
    (code / ".0123456789ab-busy").mkdir()
    (code / ".0123456789ab-dead").mkdir()
    os.utime(code / ".0123456789ab-dead", (0, 0))
    outside = tmp_path / "outside"
    filled["old"].rename(outside)
    (code / filled["old"].name).symlink_to(outside)
    (folder / "tuning/readme.md").write_text("")
    (folder / "elsewhere").mkdir()
    run("clear", "--yes")
    mine = {"notes", "0123456789ab", "precious.txt", ".0123456789ab-busy", filled["old"].name}
    assert left(folder) == {*(f"code/{name}" for name in mine), "tuning/readme.md"}
    assert (outside / "manifest.json").exists() and (folder / "elsewhere").exists()


def test_clear_needs_a_yes(filled, folder, piped, on_terminal):
    done = piped("cache", "clear")
    assert (done.code, done.out) == (1, "")
    assert "this removes 2 packages and 2 tables of tuned kernels, " in done.err and "add --yes" in done.err
    assert run("clear", "--json", code=1) and len(left(folder)) == 4
    document = json.loads(run("clear", "--json", "--yes"))
    assert (document["packages"], document["tables"], document["failed"]) == (2, 2, []) and not left(folder)


@pytest.mark.parametrize(("answer", "count"), [(True, 0), (False, 4)])
def test_clear_asks(filled, folder, monkeypatch, answer, count):
    asked = []
    monkeypatch.setattr("cortexc.cli.cache.sys.stdin", _Terminal())
    monkeypatch.setattr("cortexc.cli.cache.sys.stdout", _Terminal())
    monkeypatch.setattr("typer.confirm", lambda text, default: asked.append((text, default)) or answer)
    from cortexc.cli.cache import clear

    clear()
    assert len(left(folder)) == count
    assert asked[0][0].startswith("remove 2 packages and 2 tables") and asked[0][1] is False


class _Terminal:
    """Something that a person sits at."""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)


def test_a_cleared_package_is_made_again(filled):
    run("clear", "--yes")
    assert cortexc.compile("A", d_hidden=8, backend="eager").folder == filled["new"] and filled["new"].is_dir()


def test_what_cannot_be_removed_is_told(filled, monkeypatch):
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cached, "_remove", refuse)
    assert f"{filled['table']}: Permission denied" in run("clear", "--yes", "--tuning", code=1)
    assert filled["table"].exists()
