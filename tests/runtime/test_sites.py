"""What recording knows of a stack's parameters without walking its tree."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrizations

import cortexc
from cortexc.runtime.sites import Sites


def stack() -> cortexc.CompiledStack:
    return cortexc.compile("AM^", d_hidden=16, backend="eager")


def same(found: list, wanted) -> bool:
    wanted = list(wanted)
    return len(found) == len(wanted) and all(a is b for a, b in zip(found, wanted, strict=True))


def test_the_order_of_torch():
    s = stack()
    params, buffers = Sites(s).tensors()
    assert same(params, s.parameters())
    assert same(buffers, s.buffers())
    assert buffers  # M^ has a fixed rotation


def test_a_shared_parameter_is_one():
    s = stack()
    gate = s.layers[0].experts[0].gate1
    gate.Wr.weight = gate.Wz.weight
    assert same(Sites(s).tensors()[0], s.parameters())


def test_a_replaced_parameter_is_seen():
    s = stack()
    sites = Sites(s)
    s.norm.weight = new = nn.Parameter(torch.ones(16))
    assert any(p is new for p in sites.tensors()[0])
    assert same(sites.tensors()[0], s.parameters())


def test_another_tree_is_another_tree():
    s = stack()
    sites = Sites(s)
    s.layers[0].experts[0].core.out_proj = nn.Linear(32, 16)
    assert sites.tensors() is None
    s = stack()
    sites = Sites(s)
    s.layers[0].experts[0].core.out_proj.register_parameter("extra", nn.Parameter(torch.ones(1)))
    assert sites.tensors() is None


def test_a_parametrised_weight_is_another_tree():
    s = stack()
    sites = Sites(s)
    parametrizations.weight_norm(s.layers[0].experts[0].core.out_proj)
    assert sites.tensors() is None
