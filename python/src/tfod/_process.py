"""Runs the `tfod` binary: where it is, what it says while it works, what it ends with."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path
from typing import IO, Callable, Iterator, List, Optional, Sequence, Union

PathLike = Union[str, "os.PathLike[str]"]
#: What a function's `progress` can be: None shows steps on a terminal or in a notebook, False shows none, a function is called with each step.
Progress = Union[None, bool, Callable[[str], None]]

_STEP = "progress: "
_QUIET_SECONDS = 1.0


class Error(Exception):
    """tfod could not do what was asked. `str(error)` says what prevented it, where, and what to do.

    `exit_code` is the exit status of the command: 2 where an argument is wrong (and, from `check` and `verify`, where a file cannot be read).
    """

    def __init__(self, message: str, exit_code: int, command: Sequence[str]) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.command = tuple(command)

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return type(self), (str(self), self.exit_code, self.command)


class TfodWarning(UserWarning):
    """The work was done, but the result may not be what was meant."""


def binary() -> Path:
    """Returns the path of the `tfod` command: `$TFOD_BIN`, the one installed with this package, or one on the PATH.

    Raises FileNotFoundError where there is none.
    """
    name = "tfod" + (sysconfig.get_config_var("EXE") or "")
    chosen = os.environ.get("TFOD_BIN")
    if chosen:
        return Path(chosen)
    folders = [sysconfig.get_path("scripts")]
    for scheme in sysconfig.get_scheme_names():
        if scheme.endswith("_user"):
            folders.append(sysconfig.get_path("scripts", scheme))
    # `pip install --target DIR` puts the command into DIR/bin, beside the package.
    folders.append(str(Path(__file__).resolve().parent.parent / "bin"))
    for folder in folders:
        file = Path(folder) / name
        if file.is_file():
            return file
    found = shutil.which(name)
    if found:
        return Path(found)
    looked = ", ".join(folders)
    raise FileNotFoundError(f"the tfod command is not installed: there is no {name} in {looked} or on the PATH; reinstall with `pip install --force-reinstall tfod`")


def in_notebook() -> bool:
    """Whether this process runs the cells of a notebook."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return shell is not None and getattr(shell, "kernel", None) is not None


class _Terminal:
    """Shows the present step in one line of the terminal, from the first second on."""

    def __init__(self) -> None:
        self._start, self._width = time.monotonic(), 0

    def step(self, text: str) -> None:
        seconds = time.monotonic() - self._start
        if seconds >= _QUIET_SECONDS:
            line = f"tfod: {text} ({seconds:.0f} s)"
            print("\r" + line.ljust(self._width), end="", file=sys.stderr, flush=True)
            self._width = len(line)

    def close(self) -> None:
        if self._width:
            print("\r" + " " * self._width + "\r", end="", file=sys.stderr, flush=True)


class _Notebook:
    """Shows the present step below the cell; the line is replaced by the next one, and says how long it took in the end."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._handle = None

    def _show(self, text: str) -> None:
        from IPython.display import Pretty, display  # type: ignore[import-not-found, unused-ignore]  # a notebook has it

        shown = Pretty(text)
        if self._handle is None:
            self._handle = display(shown, display_id=True)
        else:
            self._handle.update(shown)

    def step(self, text: str) -> None:
        self._show(f"tfod: {text} ...")

    def close(self) -> None:
        if self._handle is not None:
            self._show(f"tfod: {time.monotonic() - self._start:.2f} s")


class _Function:
    """Tells a function of the caller's each step."""

    def __init__(self, function: Callable[[str], None]) -> None:
        self.step = function

    def close(self) -> None:
        """There is nothing to remove."""


def _reporter(progress: Progress) -> Union[_Terminal, _Notebook, _Function, None]:
    if callable(progress):
        return _Function(progress)
    if progress is False:
        return None
    if in_notebook():
        return _Notebook()
    return _Terminal() if progress or sys.stderr.isatty() else None


class Outcome:
    """What a run printed, and its exit status."""

    def __init__(self, command: Sequence[str], exit_code: int, output: str, messages: str) -> None:
        self.command, self.exit_code, self.output, self.messages = tuple(command), exit_code, output, messages

    def check(self, expected: Sequence[int]) -> Outcome:
        """Raises Error unless the exit status is an expected one."""
        if self.exit_code in expected:
            return self
        message = self.messages.strip()
        if message.startswith("error: "):
            message = message[len("error: ") :]
        if self.exit_code < 0:
            message = f"{message}\ntfod was ended by signal {-self.exit_code}".strip()
        raise Error(message or f"tfod ended with exit status {self.exit_code}", self.exit_code, self.command)


def _read_all(pipe: IO[str], into: List[str]) -> None:
    with pipe:
        into.append(pipe.read())


def _read_lines(pipe: IO[str], into: queue.Queue[Optional[str]]) -> None:
    with pipe:
        for line in pipe:
            into.put(line)
    into.put(None)


def _until_none(lines: queue.Queue[Optional[str]]) -> Iterator[str]:
    """The lines of a queue, waited for in short pieces, between which signals are handled."""
    while True:
        try:
            line = lines.get(timeout=0.2)
        except queue.Empty:
            continue
        if line is None:
            return
        yield line


def run(arguments: Sequence[str], progress: Progress) -> Outcome:
    """Runs the command to its end. Where Python is interrupted, so is the command, which then leaves nothing half-written."""
    command = [os.fspath(binary()), *arguments]
    reporter = _reporter(progress)
    environment = {**os.environ, "TFOD_PROGRESS": "lines" if reporter is not None else "none"}
    output: List[str] = []
    messages: List[str] = []
    lines: queue.Queue[Optional[str]] = queue.Queue()
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, encoding="utf-8", errors="replace")
    try:
        # Both pipes are emptied at once, or the command would wait for one of them for ever; by threads, since a signal does not always end a read.
        readers = [threading.Thread(target=_read_all, args=(process.stdout, output)), threading.Thread(target=_read_lines, args=(process.stderr, lines))]
        for reader in readers:
            reader.start()
        for line in _until_none(lines):
            if not line.startswith(_STEP):
                messages.append(line)
            elif reporter is not None:
                reporter.step(line[len(_STEP) :].rstrip("\n"))
        process.wait()
        for reader in readers:
            reader.join()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    finally:
        if reporter is not None:
            reporter.close()
    return Outcome(command, process.returncode, "".join(output), "".join(messages))


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs the command as it is, on this process's terminal; `python -m tfod` does."""
    command = [os.fspath(binary()), *(sys.argv[1:] if arguments is None else arguments)]
    if os.name == "posix" and arguments is None:
        os.execv(command[0], command)
    return subprocess.call(command)
