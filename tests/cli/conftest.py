"""The command as a user runs it: a fresh process, with a pipe or a terminal behind it."""

import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "cortexc.cli"]


@dataclass(frozen=True)
class Run:
    """What a process left behind."""

    code: int
    out: str
    err: str = ""


def _as_a_user() -> dict[str, str]:
    """The environment without Triton's interpreter, which the other tests switch on."""
    return {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}


@pytest.fixture
def piped(tmp_path: Path) -> Callable[..., Run]:
    """Runs `cortexc ARGS` in an empty folder with its output piped."""

    def run(*args: str, **env: str) -> Run:
        done = subprocess.run(
            [*COMMAND, *args], cwd=tmp_path, env=_as_a_user() | env, capture_output=True, text=True, timeout=120
        )
        return Run(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def on_terminal(tmp_path: Path) -> Callable[..., Run]:
    """Runs `cortexc ARGS` on a terminal of the given width."""

    def run(*args: str, columns: int = 80, **env: str) -> Run:
        ours, theirs = pty.openpty()
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        clean = {key: value for key, value in _as_a_user().items() if key not in ("COLUMNS", "NO_COLOR")}
        process = subprocess.Popen(
            [*COMMAND, *args], cwd=tmp_path, env=clean | {"TERM": "xterm-256color"} | env, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        chunks = []
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # how a pty says that the other side is gone
                break
            if not chunk:
                break
            chunks.append(chunk)
        os.close(ours)
        return Run(process.wait(timeout=120), b"".join(chunks).decode().replace("\r\n", "\n"))

    return run
