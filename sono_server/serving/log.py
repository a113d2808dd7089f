"""The log of servers, which no handler of the application's can turn against them."""

import contextlib
import logging
import sys
import traceback

_CALLER = 3  # frames to the one that a record names: none of this module's
_Error = BaseException | bool | None


class Log:
    """A logger that raises nothing: what a peer does is logged in the middle of the loop.

    Its methods are those of `logging.Logger` of the same names.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self.logger: logging.Logger = logger
        """The logger itself."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's
        """Whether anything of that level is logged."""
        return self.logger.isEnabledFor(level)

    def log(self, level: int, text: str, *values: object) -> None:
        """Log an event."""
        self._log(level, text, values, None)

    def debug(self, text: str, *values: object, exc_info: _Error = None) -> None:
        """Log what only developers want to know."""
        self._log(logging.DEBUG, text, values, exc_info)

    def info(self, text: str, *values: object) -> None:
        """Log what happens."""
        self._log(logging.INFO, text, values, None)

    def warning(self, text: str, *values: object) -> None:
        """Log what ought to be looked at."""
        self._log(logging.WARNING, text, values, None)

    def error(self, text: str, *values: object, exc_info: _Error = None) -> None:
        """Log what failed."""
        self._log(logging.ERROR, text, values, exc_info)

    def exception(self, text: str, *values: object) -> None:
        """Log what failed, with the exception that is handled now."""
        self._log(logging.ERROR, text, values, True)

    def _log(self, level: int, text: str, values: tuple[object, ...], error: _Error) -> None:
        try:
            self.logger.log(level, text, *values, exc_info=error, stacklevel=_CALLER)
        except Exception:
            _complain()

    def handle(self, record: logging.LogRecord) -> None:
        """See `logging.Logger`."""
        try:
            self.logger.handle(record)
        except Exception:
            _complain()


def _complain() -> None:
    """Say what a handler of the log raised, as `logging.Handler.handleError` does."""
    if logging.raiseExceptions and sys.stderr:
        with contextlib.suppress(OSError):
            traceback.print_exc()


logger: Log = Log(logging.getLogger("sono"))
