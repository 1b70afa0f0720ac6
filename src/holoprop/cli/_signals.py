"""Signals that stop a run: the first one when it is saved, the second one at once."""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# As shells have it.
_STATUS = 128
_SHOW_CURSOR = b"\x1b[?25h"


class Stop:
    """Whether and by which signal a run has been asked to stop."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def is_asked(self) -> bool:
        """Whether it has."""
        return self.signal is not None

    @property
    def status(self) -> int:
        """The exit status of a run that has stopped so."""
        return _STATUS + (self.signal or signal.SIGINT)


@contextlib.contextmanager
def stoppable() -> Iterator[Stop]:
    """Let Ctrl-C, SIGTERM and SIGHUP ask for a stop; the second one ends the process.

    A signal that is ignored (`nohup`) stays so.
    """
    stop = Stop()
    handled = [s for s in _SIGNALS if signal.getsignal(s) != signal.SIG_IGN]

    def ask(number: int, frame: object) -> None:
        stop.signal = number

    # Python runs handlers between two of its own instructions, and a compiler may take minutes over
    # one. The number of a signal is written into this socket at once, and read by a thread.
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    watcher = threading.Thread(target=_watch, args=(reader, handled), daemon=True)
    watcher.start()
    handlers = {s: signal.signal(s, ask) for s in handled}
    wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    try:
        yield stop
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        writer.close()
        watcher.join()
        reader.close()


def _watch(reader: socket.socket, handled: list[signal.Signals]) -> None:
    is_asked = False
    while numbers := reader.recv(64):
        for number in numbers:
            if number not in handled:
                continue
            if is_asked:
                if sys.stdout is not None and sys.stdout.isatty():
                    # The progress bar has hidden it.
                    os.write(sys.stdout.fileno(), _SHOW_CURSOR)
                os._exit(_STATUS + number)
            is_asked = True
            print(
                "holoprop: stopping after this step; the next signal stops at once.",
                file=sys.stderr,
                flush=True,
            )
