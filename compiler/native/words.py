"""Names that a value may not have in generated C++."""

from __future__ import annotations

# Words of the language that are none of Python.
_LANGUAGE = """
alignas alignof asm auto bool case catch char const constexpr const_cast decltype default delete do double dynamic_cast
enum explicit export extern float friend goto inline int long mutable namespace new noexcept nullptr operator private
protected public register reinterpret_cast short signed sizeof static static_assert static_cast struct switch template
this thread_local throw typedef typeid typename union unsigned using virtual void volatile wchar_t
"""
# What generated functions call things of their own.
_OWN = """
D E N a at b c carried channels cx data experts f32 features first fixed from i in_pieces integer j n resets row rows
scratch size stop threads width
"""

WORDS = frozenset(f"{_LANGUAGE} {_OWN}".split())
