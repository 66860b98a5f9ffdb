"""The standard streams: any encoding and any width, and an error of writing is remembered instead of raised."""

import io
import os
import re
import select
import sys
import textwrap
from typing import Any, TextIO

CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters that make a terminal do something, but for tab and newline; an escape sequence begins with one."""
LEAST_COLUMNS = 20
"""A terminal that says it has fewer does not know; and prose needs as many."""
GAP = re.compile(r"\s{2,}(?=\S)")
"""What stands between the cells of a table."""
COMMAND = re.compile(r"`[^`]*`")
UNBROKEN = "\0"  # a space that no line breaks at


class Outlet(io.RawIOBase):
    """The lowest part of an output stream. After an error of writing it takes everything and writes nothing.

    A full disk, a reader that went away or a terminal that was closed is no reason to end what makes files.
    """

    def __init__(self, raw: Any) -> None:
        self.lost: OSError | None = None
        self._raw = raw

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return int(self._raw.fileno())

    def isatty(self) -> bool:
        return bool(self._raw.isatty())

    def write(self, content: Any) -> int:
        """Write, and wait for the reader even where another program has made the pipe one that does not wait."""
        if self.lost is None:
            try:
                while (written := self._raw.write(content)) is None:
                    select.select([], [self._raw], [])
                return int(written)
            except OSError as error:
                self.lost = error
        return memoryview(content).nbytes


def open_streams() -> None:
    """Put stdout and stderr on outlets; characters that their encoding lacks are printed escaped from now on.

    Streams that were closed are opened on nothing: else the next file would get the number of stdout, and what a
    library prints would go into that file.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
        elif stream is getattr(sys, f"__{name}__") and mode == "w":
            setattr(sys, name, _on_an_outlet(stream))
        elif isinstance(stream, io.TextIOWrapper) and mode == "w":  # a test's
            stream.reconfigure(errors="backslashreplace")


def _on_an_outlet(stream: Any) -> TextIO:
    outlet = Outlet(getattr(stream.buffer, "raw", stream.buffer))
    buffering = stream.line_buffering or stream is sys.__stderr__
    return io.TextIOWrapper(
        io.BufferedWriter(outlet), stream.encoding, errors="backslashreplace", line_buffering=buffering
    )


def lost_output(stream: TextIO) -> OSError | None:
    """Return why a stream could not be written to; None as long as it could."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw.lost if isinstance(raw, Outlet) else None


def write(stream: TextIO, text: str, *, wrap: bool = True) -> None:
    """Write a text as it is; but on a terminal, control characters are escaped and long lines broken between words."""
    if stream.isatty():
        text = CONTROLS.sub(lambda control: f"\\x{ord(control[0]):02x}", text)
        if wrap:
            text = _wrapped(text, _columns(stream))
    stream.write(text)
    stream.flush()


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except OSError:
        return 0


def _wrapped(text: str, columns: int) -> str:
    if columns < LEAST_COLUMNS:
        return text
    return "\n".join(line if len(line) <= columns else _broken(line, columns) for line in text.split("\n"))


def _broken(line: str, columns: int) -> str:
    """Break a line between words; a row of a table goes on below its last cell, if there is room.

    Commands in backticks stay whole, so that they can be copied.
    """
    last_cell = max((gap.end() for gap in GAP.finditer(line)), default=0)
    indent = last_cell if last_cell + LEAST_COLUMNS <= columns else 0
    lines = textwrap.fill(
        COMMAND.sub(lambda command: command[0].replace(" ", UNBROKEN), line),
        columns,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
        expand_tabs=False,
    )
    return lines.replace(UNBROKEN, " ")
