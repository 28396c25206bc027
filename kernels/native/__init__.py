"""Steps in C++, compiled on the machine that they run on: ``layer`` is what generated code uses, ``library`` loads and
calls, ``build`` compiles. Generated C++ begins with the headers here and beside the ops that they compute."""

from .layer import Layer, together
from .library import native, wanted

__all__ = ["Layer", "native", "together", "wanted"]
