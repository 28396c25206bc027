"""`CompiledStack`: the nn.Module a user holds. The generated code computes; this class checks, carries and converts."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from ..compiler import Report, build
from ..compiler.alone import part_of
from ..compiler.report import report_from_json
from ..cortex_dsl import CortexStackConfig
from ..kernels.native import native, wanted
from ..kernels.recycle import Pool, recycling
from .adapters import TrunkScale, adapter_of, check_routes
from .backends import check_device, effective_backend
from .checks import check_input, check_resets
from .errors import CortexInputError
from .loader import load_code, read_package, store
from .mirror import Mirror
from .params import grow, lay_out_packs, plant
from .recording import Recorder, enabled, recordable, undisturbed
from .rehearsal import Rehearsals
from .state import Leaves, StateLayout
from .stepper import Stepper

Run = Callable[..., tuple[Tensor, Leaves]]

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

RECORDED = ("auto", "triton")  # backends whose launches are worth recording, and are all ours
# Without gradients autograd has nothing to do, and still looks at every op: a twentieth of a step of one row on a CPU.
below_autograd = torch._C._AutoDispatchBelowAutograd


class CompiledStack(nn.Module):
    """A compiled recurrent memory stack.

    ``y, state = stack(x, state, resets=mask)`` with ``x [B, T, H]`` (a sequence) or ``[B, H]`` (a step), ``y`` of
    the same
    shape, ``state`` a TensorDict or None, ``mask`` bool ``[B, T]`` (``[B]`` for a step): a row whose mask is true at t
    starts step t from the initial state. One function: whole, cut anywhere, or step by step give the same numbers.
    """

    def __init__(
        self,
        source: Path | str,
        *,
        backend: str | None = None,
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        """``source``: the folder of a compiled package; the others override what it was compiled for."""
        super().__init__()
        package = read_package(Path(source))
        made_for = package["manifest"]["backend"]
        wanted = effective_backend(backend or made_for)
        if wanted != made_for:
            spec = CortexStackConfig.model_validate_json(package["spec"])
            kept = {key: package["manifest"][key] for key in ("dtype", "pattern", "part")}
            artifact = build(spec, backend=wanted, **kept)
            source = store(artifact)
            package = read_package(source)
        self._open(Path(source), package)
        chosen = as_dtype(dtype or package["manifest"]["dtype"])
        target = torch.device(device) if device is not None else torch.get_default_device()
        grow(self, package["layout"], dtype=chosen, device=target)
        planted = plant(self, package["layout"], backend=wanted, dtype=chosen, device=target)
        # Modules of users may branch on values: their calls are recorded only if their classes say that they may be.
        inside = [m for part in planted for m in part.modules()]
        self.closed = not planted  # all parts are ours
        self.capturable = all(getattr(m, "capturable", True) for m in inside)
        for m in inside:
            if isinstance(m, CompiledStack):
                m.record = not self.capturable  # compiled parts of theirs are recorded with the whole, or by themselves
        self._scale_trunk(package["layout"])
        if not package["layout"]["params"]:
            self.register_buffer("_empty", torch.empty(0, dtype=chosen, device=target), persistent=False)
        lay_out_packs(self, self._packs)
        check_device(self.backend, target.type)

    def _open(self, folder: Path, package: dict[str, Any]) -> None:
        manifest = package["manifest"]
        self.pattern: str = manifest["pattern"]
        self.backend: str = manifest["backend"]
        self.d_hidden: int = manifest["d_hidden"]
        self.epoch = 0  # counts moves and casts, after which captured graphs are stale
        self._folder = folder
        self._spec_json: str = package["spec"]
        self._part: str = manifest["part"]
        self._packs: list[list[str]] = package["layout"]["packs"]
        self.adapter = adapter_of(package["spec"]) if self._part == "stack" else None
        self.layout = StateLayout(package["layout"]["states"])
        self.dropout_seed: int | None = None  # with one, the masks of fresh states are always the same
        self._dropping: list[str] = package["layout"].get("dropout", [])
        self.record = True  # whether calls on a GPU may be recorded as CUDA graphs
        self._recorder, self._rehearsals = Recorder(), Rehearsals()
        self._mirror, self._pool = Mirror(), Pool()
        self._load()

    def _scale_trunk(self, layout: dict[str, Any]) -> None:
        """What the spec says of how the parameters beside the adapters learn."""
        names = frozenset(p["path"] for p in layout["params"] if p.get("adapter"))
        self._trunk = TrunkScale(self.adapter.trunk_lr_mult if self.adapter else 1.0, names)
        if self.adapter and self.adapter.freeze_base:
            for p in self._trunk.trunk(self):
                p.requires_grad_(False)
        self._trunk.follow(self)

    def _load(self) -> None:
        code: ModuleType = load_code(self._folder)
        if self.backend == "inductor" and CortexStackConfig.model_validate_json(self._spec_json).compile_scaffolds:
            compile_layers(code)
        self._sequence: Run = code.sequence
        # The reference backend has no step code: a step is a sequence of one.
        self._step: Run | None = getattr(code, "step", None)

    # -- the contract ------------------------------------------------------------------------------------------------

    def forward(
        self,
        x: Tensor,
        state: Any = None,
        resets: Tensor | None = None,
        *,
        route_ids: Tensor | None = None,
        flat: bool = False,
        record: bool = True,
    ) -> tuple[Tensor, Any]:
        """Run a sequence ``[B, T, H]`` or a step ``[B, H]``; see the class. Raises CortexInputError, CortexStateError.

        ``route_ids`` int64 ``[B]`` chooses the adapters of each row, in a stack with routed adapters.
        ``flat`` and ``record`` are for engines: a flat state is a tuple of leaves in the order of ``layout``, and
        nothing is checked."""
        if flat:
            return self.run(x, state, resets, route_ids, record=record)
        check_input(x, self.d_hidden, self.dtype, self.device)
        mask = check_resets(resets, x)
        routes = check_routes(route_ids, x, self.adapter)
        if not torch.compiler.is_compiling():
            self._trunk.follow(self)
        y, after = self.run(x, self.leaves(x, state), mask, routes)
        return y, self.layout.pack(after, x.shape[0])

    def leaves(self, x: Tensor, state: TensorDict | None) -> Leaves | None:
        """The leaves of a state that goes with ``x``; none for None and an empty TensorDict, which mean a fresh one."""
        if state is None or (isinstance(state, TensorDict) and state.is_empty()):
            return None
        return self.layout.unpack(state, x.shape[0], x.device, x.dtype)

    def fresh(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> Leaves:
        """The leaves of a fresh state; rows with dropout get masks of their own (docs/dropout.md)."""
        return self.layout.initial(batch, device, dtype, self.dropout_seed)

    def modes(self) -> tuple[bool, ...]:
        """Whether the stack is in training mode, and each part with dropout: what a recorded call depends on, beside
        its operands."""
        return (self.training, *(self.get_submodule(path).training for path in self._dropping))

    def step(
        self,
        x: Tensor,
        state: TensorDict | None = None,
        *,
        resets: Tensor | None = None,
        route_ids: Tensor | None = None,
    ) -> tuple[Tensor, TensorDict]:
        """One step: ``x [B, H]``, ``resets [B]``, ``route_ids [B]``."""
        check_input(x, self.d_hidden, self.dtype, self.device, step=True)
        return self(x, state, resets=resets, route_ids=route_ids)

    def run(
        self,
        x: Tensor,
        leaves: Leaves | None,
        mask: Tensor | None,
        routes: Tensor | None = None,
        *,
        record: bool = True,
    ) -> tuple[Tensor, Leaves]:
        """The contract on flat, checked operands: what :meth:`forward` does between its conversions. No leaves: a
        fresh state, which a recording makes by itself unless rows start with masks of their own."""
        if leaves is None and "episode" in self.layout.kinds:
            leaves = self.fresh(x.shape[0], x.device, x.dtype)
        if record and self.capturable and self.backend in RECORDED and recordable(x):
            if self.closed:
                self._rehearsals.before(self, x, leaves, mask, routes)
            if self.record and enabled():
                recording = self._recorder.find(self, x, leaves, mask, routes)
                if recording is not None:
                    return recording(self._recorder.params, x, leaves, mask, routes)
        if leaves is None:
            leaves = self.fresh(x.shape[0], x.device, x.dtype)
        if mask is not None and x.device.type == "cpu" and not torch.compiler.is_compiling() and not mask.any():
            mask = None  # an all-false mask costs nothing; on a GPU looking at it would make the host wait
        rest = (routes,) if self.adapter is not None else ()  # generated code takes routes only if it has adapters
        # A compiler guards what it reads of a module; what it cannot know of is our image of one.
        plain = self.backend == "inductor" or torch.compiler.is_compiling()
        p = self if plain else self._mirror.of(self)
        alone = x.is_cpu and not plain and undisturbed()
        untracked = alone and self.closed and not torch.is_grad_enabled()
        compiled = untracked and x.dtype is torch.float32 and not torch.is_autocast_enabled("cpu") and wanted()
        with (
            recycling(self._pool) if alone else nullcontext(),
            below_autograd() if untracked else nullcontext(),
            native(compiled),
        ):
            if x.dim() == 3:
                return self._sequence(p, x, leaves, mask, *rest)
            if self._step is not None:
                return self._step(p, x, leaves, mask, *rest)
            y, after = self._sequence(p, x[:, None], leaves, None if mask is None else mask[:, None], *rest)
            return y[:, 0], after

    def stepper(self, batch: int) -> Stepper:
        """The low-latency engine for ``batch`` rows: state in fixed buffers, on a GPU one CUDA graph a step."""
        return Stepper(self, batch)

    def init_state(
        self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> TensorDict:
        """A fresh state of ``batch`` rows with every leaf present, on the device and in the dtype of the parameters."""
        leaves = self.fresh(batch, device or self.device, dtype or self.dtype)
        return self.layout.pack(leaves, batch)

    def reset_state(self, state: TensorDict, mask: Tensor) -> TensorDict:
        """The state with the rows where ``mask [B]`` is true back at their start; the given state is not changed."""
        batch = state.batch_size[0] if isinstance(state, TensorDict) and state.batch_size else 0
        leaves = self.layout.unpack(state, batch, self.device, self.dtype)
        checked = check_resets(mask, torch.empty((batch, self.d_hidden), device=self.device, dtype=self.dtype))
        if checked is None:
            raise CortexInputError("resets is None; reset_state takes a bool tensor [B]")
        return self.layout.pack(self.layout.reset(leaves, checked), batch)

    # -- what it is --------------------------------------------------------------------------------------------------

    @property
    def spec(self) -> Any:
        """The resolved config this module was compiled from: a stack's, or that of one scaffold or core."""
        return part_of(CortexStackConfig.model_validate_json(self._spec_json), self._part)

    @property
    def dtype(self) -> torch.dtype:
        return self._like().dtype

    @property
    def device(self) -> torch.device:
        return self._like().device

    def _like(self) -> Tensor:
        """Any tensor of the module: a parameter, or what stands in for one where there is none."""
        return next(itertools.chain(self.parameters(), self.buffers()))

    @property
    def folder(self) -> Path:
        """Where the generated code lies, to be read."""
        return self._folder

    def summary(self) -> Report:
        """The report that the compiler made."""
        return report_from_json(json.loads((self._folder / "report.json").read_text(encoding="utf-8")))

    def extra_repr(self) -> str:
        return f"{self.pattern!r}, d_hidden={self.d_hidden}, backend={self.backend!r}"

    # -- copying and moving ------------------------------------------------------------------------------------------

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> CompiledStack:
        """Moving or casting gives every parameter storage of its own; put packed ones side by side again."""
        super()._apply(fn, recurse)
        lay_out_packs(self, self._packs)
        self._trunk.follow(self)
        self._pool = Pool()
        self.epoch += 1
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Code is not pickled: it is loaded again from its folder."""
        return {
            k: v
            for k, v in self.__dict__.items()
            if k not in ("_sequence", "_step", "_recorder", "_rehearsals", "_mirror", "_pool")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._recorder, self._rehearsals = Recorder(), Rehearsals()
        self._mirror, self._pool = Mirror(), Pool()
        self._load()
        self._trunk.follow(self)


def compile_layers(code: ModuleType) -> None:
    """Wrap each layer function of a generated module in torch.compile, once. Equal layers share their function, so the
    compiler sees a layer once however deep the stack is. A part by itself is one layer."""
    own = {name: f for name, f in vars(code).items() if getattr(f, "__module__", "") == code.__name__}
    layers = {name: f for name, f in own.items() if name.startswith(("column_", "layer_"))} or own
    for name, function in layers.items():
        if not hasattr(function, "_torchdynamo_orig_callable"):
            setattr(code, name, torch.compile(function))


def as_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """``torch.float32`` from itself or from ``"float32"``."""
    found = dtype if isinstance(dtype, torch.dtype) else getattr(torch, dtype, None)
    if found not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}; expected float32, float64, bfloat16 or float16")
    return found
