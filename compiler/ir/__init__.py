"""The graph: frozen types, values and nodes; its printer and parser; its verifier. Imports nothing of ours."""

from .graph import Graph, Init, Node, Param, Program, State, Value
from .parser import parse_graph
from .printer import print_graph, print_program
from .types import B, Dim, T, Type
from .verify import VerifyError, verify

__all__ = [
    "B",
    "Dim",
    "Graph",
    "Init",
    "Node",
    "Param",
    "Program",
    "State",
    "T",
    "Type",
    "Value",
    "VerifyError",
    "parse_graph",
    "print_graph",
    "print_program",
    "verify",
]
