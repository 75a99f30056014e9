"""Errors that a user can mend."""


class UserError(Exception):
    """Bad input: a file, a configuration, a message or a flag.

    The message is one line that says what is wrong and what to do about it. The `dara` command prints it
    and exits with status 2; a node refuses the transition and logs it.
    """
