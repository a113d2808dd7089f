"""What names an application: `module:attribute` or `path/to/file.py:attribute`."""

import re
from pathlib import Path
from typing import NamedTuple

DEFAULT_ATTRIBUTE = "sono"
_NAMES = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_FORM = re.compile(
    rf"(?:(?P<file>.+?\.py)|(?P<module>[\w-]+(?:\.[\w-]+)*))"
    rf"(?::(?P<attribute>{_NAMES})(?P<call>\(\))?)?"
)


class Application(NamedTuple):
    """The parts of such a name."""

    text: str
    file: Path | None
    module: str
    """The dotted name; of a file, its name without the ending."""
    attribute: str
    """A name in the module, perhaps dotted."""
    is_factory: bool
    """Whether the attribute is to be called."""

    @property
    def folder(self) -> Path:
        """Where the application lies, and is imported from."""
        return self.file.parent if self.file else Path.cwd()


def parse_application(text: str) -> Application:
    """Read `module:attribute` or `path/to/file.py:attribute`; `()` at the end means a factory.

    Raises:
        ValueError: it is neither, or there is no such file.
    """
    form = _FORM.fullmatch(text)
    if form is None:
        raise ValueError(
            f"{text!r} names no application: write module:attribute or path/to/file.py:attribute"
        )
    file = Path(form["file"]).absolute() if form["file"] else None
    if file and not file.is_file():
        raise ValueError(f"there is no file {form['file']}")
    attribute = form["attribute"] or DEFAULT_ATTRIBUTE
    return Application(
        text, file, file.stem if file else form["module"], attribute, bool(form["call"])
    )
