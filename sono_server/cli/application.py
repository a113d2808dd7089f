"""Finds the `Sono` that `sono serve APP` names."""

import difflib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from sono_core.arguments import is_coroutine_function
from sono_server.app import Sono
from sono_server.operations import Application, parse_application

from .mistakes import ApplicationFailed, Mistake

_OUR_FRAMES = {__file__, importlib.__file__}


def parse(text: str) -> Application:
    """See `parse_application`.

    Raises:
        Mistake: it names none.
    """
    try:
        return parse_application(text)
    except ValueError as error:
        raise Mistake(str(error)) from None


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
