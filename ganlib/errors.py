"""The one exception for what a person can put right."""


class UserError(Exception):
    """A person's mistake, or their machine's: its text is one line saying what is wrong, where, and what to do.

    The command line prints the text and exits with `exit_status`; what else escapes is a bug, with its traceback.
    """

    exit_status = 2
