"""The recurrences that `RecurrenceCoreConfig` may name. Their equations are the compiler's; here are their names."""

from __future__ import annotations

# Name -> whether it has recurrent matrices, and so heads.
_BUILT_IN = {"gru": True, "lru": False, "mingru": False, "minlstm": False}
_OF_USERS: dict[str, bool] = {}


def known_recurrences() -> dict[str, bool]:
    """Every name, and whether that recurrence has recurrent matrices."""
    return _BUILT_IN | _OF_USERS


def announce(name: str, *, matrices: bool) -> None:
    """Make a name known; a name announced again (a notebook cell run twice) is renewed."""
    _OF_USERS[name] = matrices


def forget(name: str) -> None:
    """Take a user's name back."""
    _OF_USERS.pop(name, None)
