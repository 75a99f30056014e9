"""Errors that a user can mend."""

_LONGEST = 1000  # characters of a message: a spoilt file can put anything into one


class UserError(Exception):
    """Bad input: a file, a configuration, a message or a flag.

    The message is one line that says what is wrong and what to do about it. The `dara` command prints it
    and exits with status 2; a node refuses the transition and logs it.
    """

    def __init__(self, message: str) -> None:
        line = " ".join(message.split())  # whatever it quotes
        if len(line) > _LONGEST:
            line = f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"
        super().__init__(line)
