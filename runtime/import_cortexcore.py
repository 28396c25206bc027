"""Weights of a cortexcore 0.1.x stack, brought over to the same pattern here.

Names and layouts of that library are rows of the tables below; what they do not cover is an error that lists it.
The numbers are those of that library wherever it is well defined; where it is not, `import_cortexcore_notes` says how.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import pad

from ..cortex_dsl import CortexStackConfig, PassThroughScaffoldConfig, format_spec, parse
from ..cortex_dsl.sets import apply_set
from ..cortex_dsl.suggest import did_you_mean
from .backends import effective_backend
from .checkpoint import weights_of
from .compile import compile_spec
from .errors import CortexCheckpointError
from .module import CompiledStack, as_dtype

# -- the tables --------------------------------------------------------------------------------------------------------

# Levels of the tree that have another name, from the outside in; applied one after the other.
RENAMED: tuple[tuple[str, str], ...] = (
    (r"^blocks\.", "layers."),
    (r"\bwrapped_block\.", "wrapped."),
    (r"\bcell\.", "core."),
    (r"\bcore\.net\.", "core."),  # L kept a torch.nn.LSTM
    (r"\bconv1d_cell\.conv\.", "conv1d."),
    (r"\.adapter_A$", ".adapter.down"),  # routed adapters
    (r"\.adapter_B$", ".adapter.up"),
)
# Tried where the name alone has no place: an adapter's norm, and PostUp without gates.
OTHERWISE: tuple[tuple[str, str], ...] = (
    (r"\.ln\.(\w+)$", r".norm.\1"),
    (r"\.norm\.(\w+)$", r".norm1.\1"),
    (r"\.ffn_norm\.(\w+)$", r".norm2.\1"),
    (r"\.out1\.(\w+)$", r".ffn_in.\1"),
    (r"\.out2\.(\w+)$", r".ffn_out.\1"),
)


@dataclass(frozen=True)
class Layout:
    """A tensor that lies otherwise in memory: its (new) name, how many dimensions it had, what to make of it."""

    name: str
    dims: int
    new: str
    convert: Callable[[Tensor, torch.Size], Tensor]


LAYOUTS: tuple[Layout, ...] = (
    # sLSTM: gates [N, in, out] -> [N, out, in]; recurrent matrices and biases with an axis for the gate, i f z o.
    Layout(r"core\.([ifzo]gate)\.weight$", 3, r"core.\1", lambda t, _: t.transpose(1, 2)),
    Layout(r"core\.([ifzo]gate)\.adapter\.(down|up)$", 4, r"core.\1_adapter.\2", lambda t, _: t),
    Layout(r"core\.recurrent_kernel$", 3, r"core.recurrent_kernel", lambda t, _: t.unflatten(1, (4, -1))),
    Layout(r"core\.bias$", 3, r"core.bias", lambda t, _: t.transpose(0, 1).flatten(1)),
    # Axon, full rank: x @ W there, W x here.
    Layout(r"core\.(Wc[12])$", 2, r"core.\1", lambda t, _: t.T),
    # Keys of the router: d_key wide there, as wide as x here; zeros change neither the prior nor its gradients.
    Layout(r"router\.keys$", 2, r"router.keys", lambda t, to: _widened(t, to)),
    Layout(r"router\.Wk\.weight$", 2, r"router.Wk.weight", lambda t, to: _widened(t, to)),
    Layout(r"router\.Wk\.adapter\.down$", 3, r"router.Wk.adapter.down", lambda t, to: _widened(t, to)),
)

# Weights that are no nn.Linear there have no routed adapter; ours start without effect, and stay as they start.
NEW_ADAPTER = r"(?<![ifzo]gate)_adapter\.(down|up)$"


def _widened(t: Tensor, to: torch.Size) -> Tensor:
    return pad(t, (0, max(0, to[1] - t.shape[1])))


MOST = 40  # lines of one kind in a message

# -- the import --------------------------------------------------------------------------------------------------------


def import_checkpoint(
    source: Path | str | Mapping[str, Tensor],
    pattern: str | CortexStackConfig,
    *,
    d_hidden: int | None = None,
    prefix: str = "",
    backend: str = "auto",
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
) -> CompiledStack:
    """A stack of ``pattern`` with the weights of a cortexcore 0.1.x stack of the same pattern.

    ``source`` is its ``state_dict``: a mapping, or a file of torch.save or safetensors; ``prefix`` picks the stack out
    of a larger model (``"policy.stack."``). Width and dtype are the file's own where they are not given. PassThrough
    has no residual there, so it is off where the pattern does not say otherwise. Raises CortexCheckpointError, with
    every name, if a tensor has no place here or a place gets no tensor, CortexSpecError, CortexSyntaxError.
    """
    old = _under(prefix, _tensors_of(source))
    spec = _spec_of(pattern, old, d_hidden)
    stack = compile_spec(
        spec,
        part="stack",
        pattern=format_spec(spec),
        backend=effective_backend(backend),
        dtype=as_dtype(dtype or _dtype_of(old)),
        device=device,
    )
    weights = weights_of(stack)
    found = cortexcore_names(old, {name: value.shape for name, value in weights.items()})
    with torch.no_grad():
        for name, value in found.items():
            weights[name].copy_(value)
    return stack


def cortexcore_names(old: Mapping[str, Tensor], wanted: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """``old`` under our names and in our layouts. ``wanted`` are the names and shapes of the stack that takes them.
    Raises CortexCheckpointError with everything that does not fit."""
    found: dict[str, Tensor] = {}
    surplus: list[str] = []
    for name, value in old.items():
        if _says_nothing(name, value, old):
            continue
        new, tensor = _place(name, value, wanted)
        if new in wanted and new not in found:
            found[new] = tensor
        else:
            surplus.append(f"{name} {list(value.shape)} has no place{did_you_mean(new, wanted.keys())}")
    missing = [
        f"{name} {list(shape)} gets no tensor"
        for name, shape in wanted.items()
        if name not in found and not re.search(NEW_ADAPTER, name)
    ]
    shapes = [
        f"{name} would get shape {list(value.shape)}, it has {list(wanted[name])}"
        for name, value in found.items()
        if value.shape != wanted[name]
    ]
    if surplus or missing or shapes:
        raise CortexCheckpointError(
            f"these weights are not those of this pattern: {len(surplus)} without a place, {len(missing)} missing, "
            f"{len(shapes)} of another shape:\n"
            + "\n".join(f"  {line}" for lines in (surplus, missing, shapes) for line in _some(lines))
            + "\ngive the pattern, and the options, that the cortexcore stack was built with"
        )
    return found


def _some(lines: list[str]) -> list[str]:
    return lines if len(lines) <= MOST else [*lines[:MOST], f"… and {len(lines) - MOST} more"]


# -- one tensor --------------------------------------------------------------------------------------------------------


def _place(name: str, value: Tensor, wanted: Mapping[str, torch.Size]) -> tuple[str, Tensor]:
    """The name and the layout here of one tensor from there."""
    for old, new in RENAMED:
        name = re.sub(old, new, name)
    for old, new in OTHERWISE:
        other = re.sub(old, new, name)
        if name not in wanted and other in wanted:
            name = other
    for layout in LAYOUTS:
        if value.dim() == layout.dims and re.search(layout.name, name):
            new = re.sub(layout.name, layout.new, name)
            if new in wanted:
                return new, layout.convert(value, wanted[new])
    return name, value


def _says_nothing(name: str, value: Tensor, old: Mapping[str, Tensor]) -> bool:
    """Whether a tensor carries no number of its own: it can be left behind."""
    if re.search(r"\.srht_(signs|perm)$", name) and value.numel() == 0:  # the transform is not in use
        return True
    if name.endswith(".omegas"):  # computed from r here
        return bool(torch.allclose(value.double(), torch.linspace(-torch.pi, torch.pi, len(value)).double(), atol=1e-2))
    # An adapter registered the cell of the block inside a second time.
    twin = re.sub(r"^((?:\w+\.)*?)cell\.", r"\1wrapped_block.cell.", name, count=1)
    return twin != name and twin in old and torch.equal(old[twin], value)


# -- the source --------------------------------------------------------------------------------------------------------


def _tensors_of(source: Path | str | Mapping[str, Tensor]) -> dict[str, Tensor]:
    held: Any = source if isinstance(source, Mapping) else _read(Path(source))
    if not isinstance(held, Mapping):
        raise CortexCheckpointError(f"{source} holds a {type(held).__name__}; expected the state_dict of a stack")
    odd = [f"{name!r} ({type(v).__name__})" for name, v in held.items() if not isinstance(v, Tensor)]
    if odd:
        raise CortexCheckpointError(
            f"expected a state_dict, which has tensors only; found {', '.join(odd[:5])}. Where it is one part of a "
            "larger file, pass that part: import_checkpoint(torch.load(path, weights_only=True)['model'], ...)"
        )
    return dict(held)


def _read(path: Path) -> Any:
    """A state_dict from a file; nothing in it is executed."""
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as problem:
            raise CortexCheckpointError(f"{path} is not a whole safetensors file: {problem}") from problem
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as problem:
        raise CortexCheckpointError(
            f"{path} cannot be read as plain tensors ({str(problem).splitlines()[0]}); where it holds a whole module, "
            "save its weights where cortexcore is installed: torch.save(stack.state_dict(), path)"
        ) from problem


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    picked = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    if not any(name.startswith("blocks.") for name in picked):
        inside = sorted({n[: n.index("blocks.0.")] for n in tensors if "blocks.0." in n})
        hint = f"; a stack lies under {', '.join(map(repr, inside))}: pass prefix=" if inside else ""
        names = ", ".join([*list(tensors)[:5], *(["…"] if len(tensors) > 5 else [])]) or "nothing"
        raise CortexCheckpointError(
            f"no weights of a cortexcore stack (blocks.0...) under prefix {prefix!r}{hint} (found {names})"
        )
    return picked


def _spec_of(pattern: str | CortexStackConfig, old: Mapping[str, Tensor], d_hidden: int | None) -> CortexStackConfig:
    """The spec with its width, and with PassThrough as cortexcore has it."""
    spec = parse(pattern) if isinstance(pattern, str) else pattern
    if not isinstance(spec, CortexStackConfig):
        raise TypeError(f"a cortexcore stack is imported as a stack; got {type(spec).__name__}")
    if spec.d_hidden is None:
        spec = spec.model_copy(update={"d_hidden": d_hidden or _width_of(old)})
    return apply_set(spec, PassThroughScaffoldConfig, "residual", False, "cortexcore")[0]


def _width_of(old: Mapping[str, Tensor]) -> int:
    for name in ("norm.weight", "blocks.0.boundary_norm.weight", "blocks.0.experts.0.norm1.weight"):
        if name in old:
            return len(old[name])
    raise CortexCheckpointError("the weights do not say how wide x is (no norm.weight); pass d_hidden=")


def _dtype_of(old: Mapping[str, Tensor]) -> torch.dtype:
    return next((v.dtype for v in old.values() if v.is_floating_point() and v.dim()), torch.get_default_dtype())
