"""Finds the `Sono` that `sono serve APP` names."""

import difflib
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from sono_core.arguments import is_coroutine_function
from sono_server.app import Sono

from .mistakes import ApplicationFailed, Mistake

DEFAULT_ATTRIBUTE = "sono"
_NAMES = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_FORM = re.compile(
    rf"(?:(?P<file>.+?\.py)|(?P<module>[\w-]+(?:\.[\w-]+)*))"
    rf"(?::(?P<attribute>{_NAMES})(?P<call>\(\))?)?"
)
_OUR_FRAMES = {__file__, importlib.__file__}


class Application(NamedTuple):
    """The parts of APP."""

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


def parse(text: str) -> Application:
    """Read `module:attribute` or `path/to/file.py:attribute`; `()` at the end means a factory.

    Raises:
        Mistake: it is neither, or there is no such file.
    """
    form = _FORM.fullmatch(text)
    if form is None:
        raise Mistake(
            f"{text!r} names no application: write module:attribute or path/to/file.py:attribute"
        )
    file = Path(form["file"]).absolute() if form["file"] else None
    if file and not file.is_file():
        raise Mistake(f"there is no file {form['file']}")
    attribute = form["attribute"] or DEFAULT_ATTRIBUTE
    return Application(
        text, file, file.stem if file else form["module"], attribute, bool(form["call"])
    )


def load(application: Application) -> Sono:
    """Import the application and find its `Sono`; a factory is called.

    The folder of the application becomes the first on `sys.path`.

    Raises:
        Mistake: there is no such module or attribute, it is no `Sono`, or the factory cannot be
            called without arguments.
        ApplicationFailed: the application raised an exception.
    """
    sys.path.insert(0, str(application.folder))
    found: Any = _run(application, lambda: _import(application))
    path = application.module
    for name in application.attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise Mistake(f"{path} has no attribute {name!r}{_hint(found, name)}") from None
        path = f"{path}:{name}" if path == application.module else f"{path}.{name}"
    if application.is_factory:
        found = _run(application, _checked(application, found))
    if not isinstance(found, Sono):
        hint = f"; did you mean {application.text}()?" if inspect.isroutine(found) else ""
        raise Mistake(f"{application.text} is of type {_type_name(found)}, not a Sono{hint}")
    return found


def _run(application: Application, code: Callable[[], Any]) -> Any:
    """Run code of the application's."""
    try:
        return code()
    except Mistake:
        raise
    except Exception as error:
        frames = error.__traceback__
        while frames and (
            frames.tb_frame.f_code.co_filename in _OUR_FRAMES
            or frames.tb_frame.f_code.co_filename.startswith("<frozen importlib.")
        ):
            frames = frames.tb_next
        shown = "".join(traceback.format_exception(type(error), error, frames))
        kind = type(error).__name__
        raise ApplicationFailed(shown, f"{application.text} cannot be loaded: {kind}") from error


def _import(application: Application) -> ModuleType:
    if application.file:
        return _import_file(application.module, application.file)
    try:
        return importlib.import_module(application.module)
    except ModuleNotFoundError as error:
        # Another name is that of a module which the application itself imports.
        if error.name and f"{application.module}.".startswith(f"{error.name}."):
            text = (
                f"there is no module {error.name!r}, neither in {application.folder} nor installed"
            )
            raise Mistake(text) from None
        raise


def _import_file(name: str, file: Path) -> ModuleType:
    """Import a file, even if a module of that name is installed or has been imported."""
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _checked(application: Application, factory: Any) -> Callable[[], Any]:
    """The factory, which can be called without arguments."""
    if not callable(factory):
        raise Mistake(f"{application.text}: a {_type_name(factory)} cannot be called")
    if is_coroutine_function(factory):
        raise Mistake(f"{application.text}: a factory may not be a coroutine function")
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise Mistake(
            f"{application.text}: a factory is called without arguments; {error}"
        ) from None
    except ValueError:  # some built-in functions have no signature
        pass
    called: Callable[[], Any] = factory
    return called


def _hint(holder: object, name: str) -> str:
    """Names to suggest: similar ones, then those of every `Sono` in the module."""
    names = dict.fromkeys(difflib.get_close_matches(name, dir(holder)))
    known = getattr(holder, "__dict__", {})
    names |= dict.fromkeys(name for name, value in known.items() if isinstance(value, Sono))
    meant = [name for name in names if known.get(name) is not Sono]
    return f"; did you mean {' or '.join(meant)}?" if meant else ""


def _type_name(value: object) -> str:
    kind = type(value)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
