"""Why a compile finds its package in the cache or does not."""

import importlib.util
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .cached import Package, age_text
from .doctor import SWITCHES
from .frontend import Backend, Dtype, build_artifact
from .output import UserError, size_text

if TYPE_CHECKING:
    from ..compiler import Artifact

FIELDS = ("pattern", "d_hidden", "backend", "dtype", "part")
MOST = 6  # differences that are told
SHORTEST = 4  # digits of a hash

KEY = (
    "the pattern as typed, d_hidden, backend, dtype, the resolved spec, and every line of generated code, which "
    "changes with the version of cortexc; not the device, not torch, not the weights"
)


@dataclass
class Answer:
    """Labelled lines for a reader, and the same as a document."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    document: dict[str, Any] = field(default_factory=dict)


def named(text: str, found: Sequence[Package]) -> Package | None:
    """The package that a hash, or its beginning, names; None for what reads as a pattern."""
    if not (SHORTEST <= len(text) <= 12 and set(text) <= set("0123456789abcdef")):
        return None
    fitting = [p for p in found if p.hash.startswith(text)]
    if len(fitting) > 1:
        raise UserError(f"{len(fitting)} packages begin with {text}", "give more digits; cortexc cache ls lists them")
    if not fitting and len(text) == 12:
        raise UserError(f"no package {text} in the cache", "cortexc cache ls lists them")
    return fitting[0] if fitting else None


def explain_hash(package: Package) -> Answer:
    """What made the key of a package, and whether compiling the same now would find it."""
    manifest = package.manifest
    verdict = _now(package)
    answer = Answer(_head(manifest))
    answer.lines += [
        ("hash", package.hash),
        ("made", f"by cortexc {_version(manifest)}, {_ago(package)}"),
        ("key", KEY),
        ("now", verdict),
        ("folder", f"{package.path}, {size_text(package.size)}"),
    ]
    answer.document = {"hash": package.hash, "manifest": manifest, "path": str(package.path), "now": verdict}
    return answer


def explain_pattern(
    pattern: str,
    found: Sequence[Package],
    *,
    d_hidden: int | None,
    backend: Backend,
    dtype: Dtype,
    allow_import: bool,
) -> Answer:
    """Whether `cortexc.compile` of a pattern would find its package; if not, how the nearest one differs."""
    runs = _effective(backend)
    artifact = build_artifact(pattern, d_hidden=d_hidden, backend=runs, dtype=dtype, allow_import=allow_import)
    wanted = json.loads(artifact.files["manifest.json"])
    answer = Answer([*_head(wanted), ("hash", artifact.hash)])
    answer.document = {"hash": artifact.hash, "manifest": wanted, "hit": False, "nearest": None, "differs": []}
    same = next((p for p in found if p.hash == artifact.hash), None)
    if same is not None:
        from ..compiler.artifact import holds

        whole = holds(same.path, artifact)
        answer.document |= {"hit": whole, "nearest": same.hash}
        verdict = "hit: compiling loads it" if whole else "damaged: its files were changed, compiling writes it again"
        answer.lines += [("compile", verdict), ("written", _ago(same)), ("folder", str(same.path))]
        return answer
    answer.lines.append(("compile", "miss: compiling writes it"))
    if not found:
        answer.lines.append(("nearest", "none, the cache is empty"))
        return answer
    differences = {p.hash: _differences(p, artifact, wanted) for p in found}
    nearest = min(found, key=lambda p: (len(_fields(p, wanted)), len(differences[p.hash]), p.age))
    told = differences[nearest.hash]
    answer.document |= {"nearest": nearest.hash, "differs": told}
    answer.lines.append(("nearest", f"{nearest.hash}, {_ago(nearest)}: {nearest.manifest.get('pattern')}"))
    shown = [*told[:MOST], *([f"… and {len(told) - MOST} more"] if len(told) > MOST else [])]
    answer.lines += [("differs" if i == 0 else "", text) for i, text in enumerate(shown)]
    return answer


def _differences(package: Package, artifact: "Artifact", wanted: dict[str, Any]) -> list[str]:
    """In words, what is not as in a package: fields, then the spec, and only if these are equal the code."""
    there = package.manifest
    fields = _fields(package, wanted)
    told = [f"{key}: {there.get(key)} there, {wanted[key]} now" for key in fields]
    if "d_hidden" not in fields:  # else every size in the spec differs, and says nothing new
        told += _spec_differences(package, artifact)
    if told:
        return told
    if _version(there) != _version(wanted):
        return [f"cortexc: {_version(there)} there, {_version(wanted)} now"]
    changed = [path for path in sorted(artifact.files) if path != "manifest.json"]
    changed = [path for path in changed if _text(package, path) != artifact.files[path]]
    return [f"generated code: {', '.join(changed) or 'another set of files'}; cortexc itself was changed"]


def _fields(package: Package, wanted: dict[str, Any]) -> list[str]:
    return [key for key in FIELDS if package.manifest.get(key) != wanted[key]]


def _spec_differences(package: Package, artifact: "Artifact") -> list[str]:
    try:
        there = json.loads(_text(package, "spec.json") or "")
    except ValueError:
        return ["spec.json: damaged there"]
    return list(_walk(there, json.loads(artifact.files["spec.json"]), "spec"))


def _walk(there: Any, now: Any, path: str) -> Iterator[str]:
    if isinstance(there, dict) and isinstance(now, dict) and there.get("kind") == now.get("kind"):
        for key in dict.fromkeys((*there, *now)):
            yield from _walk(there.get(key), now.get(key), f"{path}.{key}")
    elif isinstance(there, list) and isinstance(now, list):
        if len(there) != len(now):
            yield f"{path}: {len(there)} there, {len(now)} now"
        for index, (a, b) in enumerate(zip(there, now, strict=False)):
            yield from _walk(a, b, f"{path}[{index}]")
    elif there != now:
        yield f"{path}: {_short(there)} there, {_short(now)} now"


def _short(value: Any) -> Any:
    return value.get("kind", "a config") if isinstance(value, dict) else value


def _now(package: Package) -> str:
    """Whether the same compile gives this key today."""
    from ..compiler.artifact import holds

    try:
        made = _compiled_again(package)
    except (ValueError, TypeError, KeyError) as problem:
        return f"does not compile any more: {str(problem).splitlines()[0]}"
    same = next((artifact for artifact in made if artifact.hash == package.hash), None)
    if same is not None:
        whole = holds(package.path, same)
        return "hit: compiling loads it" if whole else "damaged: its files were changed, compiling writes it again"
    wanted = json.loads(made[0].files["manifest.json"])
    return f"miss, the key is {made[0].hash}: {_differences(package, made[0], wanted)[0]}"


def _compiled_again(package: Package) -> "list[Artifact]":
    """From the pattern as it was typed, whose places the code names; and from the spec, for what came as configs."""
    from ..compiler import build
    from ..cortex_dsl import CortexSpecError, CortexStackConfig, CortexSyntaxError, parse

    manifest = package.manifest
    kept = {key: manifest[key] for key in ("backend", "dtype", "pattern", "part")}
    specs = [CortexStackConfig.model_validate_json(_text(package, "spec.json") or "")]
    if manifest["part"] == "stack":
        # A config of a user's may have no text form, and what there is to warn of was said when it was compiled.
        with suppress(CortexSpecError, CortexSyntaxError), warnings.catch_warnings(action="ignore"):
            specs.insert(0, parse(manifest["pattern"], d_hidden=manifest["d_hidden"]))
    return [build(spec, **kept) for spec in specs]


def _text(package: Package, path: str) -> str | None:
    try:
        return (package.path / path).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _effective(backend: Backend) -> Backend:
    """What `cortexc.compile` makes of a backend on this machine."""
    off = any(os.environ.get(s, "0") not in ("", "0") for s in SWITCHES)
    missing = importlib.util.find_spec("triton") is None
    return "eager" if backend in ("auto", "triton") and (off or missing) else backend


def _head(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    part = manifest.get("part")
    alone = f", a {part} alone" if part != "stack" else ""
    target = f"d_hidden {manifest.get('d_hidden')}, {manifest.get('dtype')}, backend {manifest.get('backend')}{alone}"
    return [("pattern", str(manifest.get("pattern"))), ("target", target)]


def _version(manifest: dict[str, Any]) -> Any:
    versions = manifest.get("versions")
    return versions.get("cortexc") if isinstance(versions, dict) else None


def _ago(package: Package) -> str:
    return f"{age_text(package.age)} ago"
