"""The `dara` command: log, inspect, train, judge and run policies for legged robots.

Exit status: 0, 1 for a failure, 2 for wrong usage or input (one line says what to do), 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
import traceback
from contextlib import suppress
from types import FrameType

# They register themselves, in the order of the help.
from . import benchmark_command, commands, convert_command, node_commands  # noqa: F401
from .command_line import INTERRUPTED, app
from .errors import UserError

FAILED, MISUSED = 1, 2


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status. No traceback reaches the user without --debug."""
    arguments = spread(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    signal.signal(signal.SIGTERM, _as_interrupt)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGHUP, _as_interrupt)
    try:
        return int(app([a for a in arguments if a != "--debug"], "dara", standalone_mode=False) or 0)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `dara inspect FILE | head`
        sys.stdout = None
        return FAILED
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # typer's own: a bare `dara`
            print(error, file=sys.stderr)
            return MISUSED
        if debug:
            traceback.print_exc()
        message, status = _explain(error)
        print(f"dara: {' '.join(message.split())}", file=sys.stderr)
        return status


def spread(arguments: list[str]) -> list[str]:
    """Repeat an option before each of its values: `--target A B`, as a shell writes `--target *.h5`."""
    if arguments[:1] != ["train"]:
        return arguments
    repeated: list[str] = []
    option = ""
    for argument in arguments:
        if argument.startswith("-"):
            option = argument if argument in ("--source", "--target") else ""
        elif option and repeated[-1] != option:
            repeated.append(option)
        repeated.append(argument)
    return repeated


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends a command as Ctrl-C does, and so does SIGHUP: no file torn, no process left behind.

    Also where Ctrl-C is ignored, as a shell has it for what it runs in the background.
    """
    if number == signal.SIGHUP:
        if signal.signal(number, signal.SIG_IGN) == signal.SIG_IGN:
            return  # shell and kernel both send it, and one press is meant
        _let_go_of_terminal()
    on_interrupt = signal.getsignal(signal.SIGINT)
    if not callable(on_interrupt):
        raise KeyboardInterrupt
    on_interrupt(number, frame)


def _let_go_of_terminal() -> None:
    """Where it is gone, what would write to it or read from it must not fail before all is in order."""
    for descriptor in range(3):
        with suppress(OSError), open(os.devnull, "r+b", buffering=0) as nothing:
            if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
                os.dup2(nothing.fileno(), descriptor)


def _explain(error: Exception) -> tuple[str, int]:
    """(what to tell the user, exit status)."""
    if isinstance(error, UserError):
        return str(error), MISUSED
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _missing(error.name), MISUSED
    if hasattr(error, "format_message"):  # typer's own: wrong usage
        return f"{error.format_message()} (dara --help tells the usage)", MISUSED
    if type(error).__name__ == "Abort":
        return "interrupted", INTERRUPTED
    return f"failed: {type(error).__name__}: {error} (--debug shows where)", FAILED


def _missing(module: str) -> str:
    from .doctor import EXTRAS, install_command

    name = module.split(".")[0]
    return f"{name} is not installed; run: {install_command(EXTRAS.get(name, ''))}"


if __name__ == "__main__":
    sys.exit(main())
