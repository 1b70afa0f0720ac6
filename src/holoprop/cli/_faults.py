"""What a command meets: one sentence on the error output, and an exit status."""

import sys
from collections.abc import Callable

import equinox as eqx


def refused(command: str, sentence: str, *, code: int) -> int:
    """Say why a command ends; returns the exit status that is given."""
    print(f"holoprop {command}: {sentence}", file=sys.stderr)
    return code


def guarded(command: str, work: Callable[[], int]) -> int:
    """Do what a command is for; what it meets is one sentence and an exit status."""
    try:
        return work()
    except eqx.EquinoxRuntimeError as error:
        return refused(command, _raised(error), code=1)
    except (ValueError, OSError, RuntimeError) as error:
        return refused(command, str(error).strip().partition("\n\n")[0], code=1)
    except KeyboardInterrupt:
        return refused(command, "interrupted.", code=130)


def _raised(error: eqx.EquinoxRuntimeError) -> str:
    """The message of a compiled program's fault: the line above the advice for developers."""
    line = str(error).partition("\n\n---")[0].splitlines()[-1]
    return line.partition(": ")[2]
