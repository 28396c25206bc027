"""The tables of tuned kernels, between their files and the kernels: read once a device, kept when a search is done.

``CORTEXC_TUNING=0`` leaves every choice as it is built in.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from ..cache import read_table, table_path, write_table
from ..kernels._triton import VERSION
from ..kernels.recurrence import tuning
from ..kernels.recurrence.choices import Choice, Key, choice_of, values_of
from ..kernels.recurrence.search import Found
from ..kernels.warnings import warn_once

KINDS = get_type_hints(Key)


def read(device: str) -> dict[Key, Choice]:
    """The choices for a device; none, and a warning, where its file is damaged or not ours."""
    if os.environ.get("CORTEXC_TUNING", "1") == "0":
        return {}
    return {_key(entry): _choice(entry) for entry in _entries(device)}


def keep(device: str, found: Iterable[Found]) -> Path:
    """Write what is better than built in, beside what the file held; what is not better any more leaves it."""
    entries: dict[Key, Mapping[str, Any]] = {_key(entry): entry for entry in _entries(device)}
    for one in found:
        entries.pop(one.key, None)
        if one.better:
            times = {"built_in_ms": round(one.before, 5), "ms": round(one.after, 5)}
            entries[one.key] = {
                "kernel": str(one.key),
                "key": one.key._asdict(),
                "choice": values_of(one.choice),
                **times,
            }
    path = write_table(table_path(device, VERSION), device, VERSION, list(entries.values()))
    tuning.forget()
    return path


def _entries(device: str) -> list[dict[str, Any]]:
    """What the file holds, if all of it is sound."""
    path = table_path(device, VERSION)
    try:
        table = read_table(path)
        if (table["device"], table["triton"]) != (device, VERSION):
            raise ValueError(f"it is for {table['device']} and Triton {table['triton']}")
        for entry in table["entries"]:
            _key(entry), _choice(entry)
        return table["entries"]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as problem:
        warn_once(
            f"W302 the table of tuned kernels {path} is ignored: {problem}; kernels run as built in. "
            "Remove it (cortexc cache clear --tuning) or write it again (cortexc tune PATTERN)"
        )
        return []


def _key(entry: Mapping[str, Any]) -> Key:
    given = entry.get("key")
    fields = Key._field_defaults | given if isinstance(given, dict) else {}  # a file may lack what keys gained since
    if set(fields) != set(Key._fields):
        raise ValueError(f"a key has {', '.join(Key._fields)}, got {given!r:.80}")
    for name, kind in KINDS.items():
        if type(fields[name]) is not kind:
            raise ValueError(f"{name} of a key is {fields[name]!r:.40}, expected {kind.__name__}")
    return Key(**fields)


def _choice(entry: Mapping[str, Any]) -> Choice:
    values = entry.get("choice")
    if not isinstance(values, dict):
        raise ValueError(f"a choice is {values!r:.40}, expected its values by name")
    return choice_of(_key(entry).schedule, values)


tuning.SOURCE[:] = [read]
tuning.forget()
