"""What a user hears who registers or writes a part wrongly: one error that names the part and says what to do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor, nn

import cortexc
from cortexc import BaseScaffold, CoreConfig, MemoryCore, ScaffoldConfig, register_core, register_scaffold
from cortexc.config import LSTMCoreConfig, PassThroughScaffoldConfig
from cortexc.runtime import CortexPartError, CortexStateError

from .custom_parts import GRU, GRUConfig, gru_token  # noqa: F401  (gru_token is a fixture)


class Plain(MemoryCore):
    """A sound core, to be spoilt one method at a time."""

    def __init__(self, cfg: CoreConfig) -> None:
        super().__init__(cfg)

    def init_state(self, batch: int, *, device: Any, dtype: torch.dtype) -> TensorDict:
        return TensorDict({"h": torch.zeros(batch, self.hidden_size, device=device, dtype=dtype)}, batch_size=[batch])

    def forward(self, x: Tensor, state: Any, *, resets: Tensor | None = None) -> tuple[Tensor, Any]:
        return x, state


_COUNT = iter(range(1000))


def spoilt(**methods: Any) -> CoreConfig:
    """The config of a core that is Plain but for these methods."""
    number = next(_COUNT)
    config = type(f"Spoilt{number}Config", (CoreConfig,), {"__module__": __name__})
    register_core(config)(type("Spoilt", (Plain,), {"__module__": __name__, **methods}))
    return config(hidden_size=8)


def compiled(config: CoreConfig) -> nn.Module:
    return cortexc.compile(config, backend="eager")


# -- registration ----------------------------------------------------------------------------------------------------


def test_what_may_be_registered() -> None:
    class OtherConfig(CoreConfig):
        pass

    class FrameConfig(ScaffoldConfig):
        pass

    with pytest.raises(TypeError, match=r"register_core\(FrameConfig\): expected a subclass of CoreConfig"):
        register_core(FrameConfig)  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match=r"register_core\(.*OtherConfig.*\): expected a subclass of CoreConfig, the class"
    ):
        register_core(OtherConfig())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"register_core\(LSTMCoreConfig\): this config is built in"):
        register_core(LSTMCoreConfig)
    with pytest.raises(TypeError, match=r"on Linear: expected a subclass of MemoryCore"):
        register_core(OtherConfig)(nn.Linear)  # type: ignore[type-var]
    with pytest.raises(TypeError, match=r"on GRU: expected a subclass of BaseScaffold"):
        register_scaffold(FrameConfig)(GRU)  # type: ignore[type-var]

    class Forgetful(MemoryCore):
        def forward(self, x: Tensor, state: Any, *, resets: Tensor | None = None) -> tuple[Tensor, Any]:
            return x, state

    class Idle(BaseScaffold):
        pass

    with pytest.raises(TypeError, match=r"on Forgetful: it has no init_state, which every MemoryCore needs"):
        register_core(OtherConfig)(Forgetful)
    with pytest.raises(TypeError, match=r"on Idle: it has no forward"):
        register_scaffold(FrameConfig)(Idle)


def test_one_config_one_class() -> None:
    """Twice is an error; the same class defined again (a notebook cell run twice) takes its own place."""
    with pytest.raises(TypeError, match=r"GRUConfig already stands for .*custom_parts\.GRU; give Plain a config"):
        register_core(GRUConfig)(Plain)
    assert register_core(GRUConfig)(GRU) is GRU


def test_unregistered() -> None:
    class LooseConfig(CoreConfig):
        pass

    with pytest.raises(NotImplementedError, match=r"LooseConfig has no graph.*@register_core\(LooseConfig\)"):
        compiled(LooseConfig(hidden_size=8))


# -- making and describing -------------------------------------------------------------------------------------------


def test_making() -> None:
    def no_width(self: Any, cfg: CoreConfig) -> None:
        MemoryCore.__init__(self)

    def other_width(self: Any, cfg: CoreConfig) -> None:
        MemoryCore.__init__(self, hidden_size=4)

    def fails(self: Any, cfg: CoreConfig) -> None:
        raise KeyError("no such table")

    with pytest.raises(TypeError, match="Spoilt needs hidden_size, a positive int; got None"):
        compiled(spoilt(__init__=no_width))
    with pytest.raises(CortexPartError, match="Spoilt has hidden_size 4; it stands where 8 is the width"):
        compiled(spoilt(__init__=other_width))
    with pytest.raises(KeyError, match="no such table") as caught:
        compiled(spoilt(__init__=fails))
    assert any("while making Spoilt for Spoilt" in note for note in caught.value.__notes__)


def fixed(**leaves: Any) -> Any:
    """An init_state whose leaves are functions of (batch, dtype)."""

    def init_state(self: Any, batch: int, *, device: Any, dtype: torch.dtype) -> TensorDict:
        return TensorDict({k: leaf(batch, dtype) for k, leaf in leaves.items()}, batch_size=[])

    return init_state


@pytest.mark.parametrize(
    ("init_state", "message"),
    [
        (lambda self, batch, *, device, dtype: {}, "init_state returned a dict; expected a TensorDict"),
        (fixed(h=lambda b, d: torch.zeros(8, dtype=d)), r"gives h of shape \[8\] for 2 rows; expected \[2, ...\]"),
        (fixed(h=lambda b, d: torch.zeros(b, 8)), "gives h as torch.float32 where dtype is .*; expected dtype=dtype"),
        (fixed(h=lambda b, d: torch.zeros(b, dtype=torch.int32)), "gives h as torch.int32"),
        (fixed(h=lambda b, d: torch.arange(b * 8, dtype=d).view(b, 8)), "gives h a start that is learned or differs"),
        (fixed(h=lambda b, d: torch.zeros(b, dtype=d, requires_grad=True)), "gives h a start that is learned"),
        (fixed(**{"a b": lambda b, d: torch.zeros(b, dtype=d)}), "gives a b a name that is no word"),
        (
            lambda self, batch, *, device, dtype: TensorDict({str(dtype)[-2:]: torch.zeros(batch, dtype=dtype)}),
            "only for some dtypes",
        ),
    ],
)
def test_states_that_cannot_be_carried(init_state: Any, message: str) -> None:
    with pytest.raises(CortexPartError, match=message):
        compiled(spoilt(init_state=init_state))


def test_starts_that_can_be_carried() -> None:
    """One number, -inf too; a module that reads values while it is made; a learned map that starts elsewhere."""

    def reads(self: Any, cfg: CoreConfig) -> None:
        Plain.__init__(self, cfg)
        self.limit = float(torch.linspace(0, 1, 5).max())

    low = compiled(spoilt(init_state=fixed(m=lambda b, d: torch.full((b, 3), -torch.inf, dtype=d)), __init__=reads))
    assert low.core.limit == 1.0
    assert bool(torch.isneginf(low.init_state(2)["m"]).all())
    assert bool(torch.isneginf(low(torch.zeros(2, 8))[1]["m"]).all())
    half = compiled(spoilt(init_state=fixed(m=lambda b, d: torch.full((b,), 0.5, dtype=d))))
    assert half.init_state(2)["m"].tolist() == [0.5, 0.5]


# -- calls -----------------------------------------------------------------------------------------------------------


def returning(*values: Any) -> Any:
    def forward(self: Any, x: Tensor, state: Any, *, resets: Tensor | None = None) -> Any:
        found = tuple(v(x, state) for v in values)
        return found if len(found) > 1 else found[0]

    return forward


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (returning(lambda x, s: None), r"one NoneType; expected \(y, state\)"),
        (returning(lambda x, s: x, lambda x, s: s, lambda x, s: 1), r"3 values; expected \(y, state\)"),
        (returning(lambda x, s: x[..., :4], lambda x, s: s), r"y of shape \[2, 3, 4\]; expected \[2, 3, 8\]"),
        (returning(lambda x, s: 1.0, lambda x, s: s), "y of type float"),
        (returning(lambda x, s: x, lambda x, s: None), "a state of type NoneType; expected a TensorDict"),
        (
            returning(lambda x, s: x, lambda x, s: TensorDict({"c": x[:, 0]}, [2])),
            "a state without h and with c beside it; init_state says it holds h",
        ),
        (
            returning(lambda x, s: x, lambda x, s: TensorDict({"h": x}, [2])),
            r"h of shape \[2, 3, 8\]; init_state says \[2, 8\]",
        ),
        (
            returning(lambda x, s: x, lambda x, s: TensorDict({"h": s["h"].long()}, [2])),
            "h as torch.int64; init_state says torch.float32",
        ),
    ],
)
def test_what_forward_may_return(forward: Any, message: str) -> None:
    with pytest.raises(CortexPartError, match=rf"Spoilt\.forward returned {message}"):
        compiled(spoilt(forward=forward))(torch.zeros(2, 3, 8))


def test_writing_into_the_state_reaches_nobody() -> None:
    """What forward sets in the state it is given stays inside: in a stack, and when a core is called directly."""

    def forward(self: Any, x: Tensor, state: Any, *, resets: Tensor | None = None) -> Any:
        state["h"] = x if x.dim() == 2 else x[:, -1]
        return x, state

    stack = compiled(spoilt(forward=forward))
    x = torch.ones(2, 3, 8)
    for part in (stack, stack.core):
        state = part.init_state(2, device="cpu", dtype=torch.float32)
        _, after = part(x, state)
        assert float(state["h"].sum()) == 0 and float(after["h"].sum()) == 16


def test_direct_calls() -> None:
    core = GRU(GRUConfig(hidden_size=8))
    with pytest.raises(cortexc.CortexInputError, match=r"GRU takes x \[B, T, H\] or \[B, H\]; got shape \[8\]"):
        core(torch.zeros(8))
    with pytest.raises(cortexc.CortexInputError, match=r"step takes x \[B, H\]; got shape \[1, 2, 8\]"):
        core.step(torch.zeros(1, 2, 8))
    with pytest.raises(CortexStateError, match="state of GRU is a dict; expected a TensorDict or None"):
        core(torch.zeros(1, 8), {})
    with pytest.raises(cortexc.CortexInputError, match="resets has shape"):
        core(torch.zeros(2, 8), resets=torch.zeros(3))


def test_scaffolds_and_built_in_parts_alone() -> None:
    from cortexc.cores import LSTMCore

    class HoldsConfig(ScaffoldConfig):
        pass

    @register_scaffold(HoldsConfig)
    class Holds(BaseScaffold):
        def forward(self, x: Tensor, state: Any, *, resets: Tensor | None = None) -> tuple[Tensor, Any]:
            return self.run_core(x, state, resets=resets)

    class LooseConfig(CoreConfig):
        pass

    with pytest.raises(TypeError, match=r"Holds has no core: HoldsConfig\(core=LSTMCoreConfig\(\)\)"):
        Holds(HoldsConfig(), 8)
    with pytest.raises(TypeError, match=r"LooseConfig is neither built in nor registered"):
        Holds(HoldsConfig(core=LooseConfig()), 8)
    with pytest.raises(ValueError, match="says 4 is its width, d_hidden=8 another"):
        Holds(HoldsConfig(core=LSTMCoreConfig(hidden_size=4)), 8)
    with pytest.raises(TypeError, match="LSTMCore takes a LSTMCoreConfig; got PassThroughScaffoldConfig"):
        LSTMCore(PassThroughScaffoldConfig())
    with pytest.raises(TypeError, match="LSTMCore alone has no width"):
        LSTMCore(LSTMCoreConfig())


@pytest.mark.usefixtures("gru_token")
def test_diagnostics_of_the_language_hold() -> None:
    """The caret on a core without Axon projections, an unknown option, a missing core: as for built-in parts."""
    with pytest.warns(UserWarning, match="W701"):
        cortexc.compile("Gru^", d_hidden=8, backend="eager")
    with pytest.raises(cortexc.CortexSyntaxError, match="did you mean `num_layers`"):
        cortexc.parse("Gru(num_layer=2)")
    with pytest.raises(ValueError, match="did you mean `num_layers`"):
        GRUConfig(num_layer=2)  # type: ignore[call-arg]


def test_old_names() -> None:
    """P5: an old name is an error with the new one, in the modules of cores and scaffolds too."""
    from cortexc import cores, scaffolds

    for module, old, new in (
        (cores, "LSTMCell", "LSTMCore"),
        (cores, "MemoryCell", "MemoryCore"),
        (cores, "register_cell", "register_core"),
        (scaffolds, "PreUpBlock", "PreUpScaffold"),
        (scaffolds, "BaseBlock", "BaseScaffold"),
    ):
        with pytest.raises(AttributeError, match=f"now called `{new}`"):
            getattr(module, old)
        for name in module.__all__:
            assert getattr(module, name) is not None
