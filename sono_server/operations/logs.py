"""How the command logs: a line of text, or a JSON object, an event."""

import json
import logging

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}


class TextFormatter(logging.Formatter):
    """A line of text an event, and the lines of a traceback, indented; no other control character.

    It may contain text of a peer, which must neither forge a line nor control a terminal.
    """

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        lines = super().format(record).split("\n")
        return "\n    ".join(line.translate(_CONTROLS) for line in lines)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's
        """See `logging.Formatter`: the message is one line."""
        record.message = record.message.translate(_CONTROLS)
        return super().formatMessage(record)


class JSONFormatter(logging.Formatter):
    """One object a line, in which no control character is left as it is."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            entry["stack"] = record.stack_info
        return json.dumps(entry)


def configure(level: str, style: str) -> None:
    """Log to standard error.

    Args:
        level: the least level that is logged, `debug` to `error`.
        style: `text` or `json`.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JSONFormatter() if style == "json" else TextFormatter(_TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
