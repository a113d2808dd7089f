"""How `sono serve` fails: the message for the user, and the exit status."""


class Mistake(Exception):  # noqa: N818 - the user's, not the program's
    """An argument is wrong; the text is one line."""


class ApplicationFailed(Exception):  # noqa: N818 - the application's, not the program's
    """The application raised an exception while it was loaded.

    Args:
        traceback: of the application's own frames, with the line end.
        text: one line.
    """

    def __init__(self, traceback: str, text: str) -> None:
        super().__init__(traceback, text)  # as they are, so that a copy can be made
        self.traceback = traceback

    def __str__(self) -> str:
        return str(self.args[1])


def reason(error: OSError) -> str:
    """The system's description of an error, for the end of a line."""
    return (error.strerror or str(error)).lower()
