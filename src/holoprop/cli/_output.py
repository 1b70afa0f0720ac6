"""Output that may be lost without anything else being lost."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def steady_output() -> Iterator[None]:
    """Let what is printed go on, though the reader has gone or the disk is full.

    `holoprop train | head -1` trains to the end. Where a file cannot take what is written to it,
    the error output says so once.
    """
    before = sys.stdout, sys.stderr
    errors = None if sys.stderr is None else _Steady(sys.stderr, None)
    output = None if sys.stdout is None else _Steady(sys.stdout, errors)
    # They are text streams in all but the class.
    sys.stdout, sys.stderr = output, errors
    try:
        yield
    finally:
        for stream in (output, errors):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before


class _Steady:
    """A text stream whose faults cost what is written, and no more."""

    def __init__(self, stream: Any, errors: "_Steady | None") -> None:
        self._stream, self._errors = stream, errors

    def write(self, text: str) -> int:
        try:
            return int(self._stream.write(text))
        except OSError as error:
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        # What is still buffered, and all that follows, goes nowhere: Python would try to write it
        # once more at its end, and complain.
        with contextlib.suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(nowhere, self._stream.fileno())
            finally:
                os.close(nowhere)
        # A reader that has gone wants no more.
        if self._errors is not None and not isinstance(error, BrokenPipeError):
            self._errors.write(f"holoprop: the output is lost from here on ({error.strerror}).\n")
            self._errors = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
