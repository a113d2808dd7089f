"""What a handler wants a payload to be: its annotation says it, and msgspec checks it."""

import functools
import inspect
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, get_type_hints

import msgspec

from sono_core.arguments import name_of
from sono_core.messaging import MessagingError
from sono_server.serving import logger

if sys.version_info >= (3, 14):  # where annotations are made when they are asked for
    from annotationlib import Format, get_annotations

    _signature = functools.partial(inspect.signature, annotation_format=Format.FORWARDREF)
    _annotations = functools.partial(get_annotations, format=Format.FORWARDREF)
else:
    _signature = inspect.signature

    def _annotations(function: Any) -> dict[str, Any]:
        return getattr(function, "__annotations__", {})


def payload_type(function: Callable[..., object]) -> Any:
    """The annotation of a handler's second parameter; Any if it has none that msgspec knows.

    A name that cannot be found counts as none, and a warning is logged: it may be one for type
    checkers alone.
    """
    try:
        names = list(_signature(function).parameters)
    except (TypeError, ValueError):  # some built-in functions have none
        return Any
    if len(names) < 2:
        return Any
    try:
        kind = _annotation(function, names[1])
        msgspec.json.Decoder(kind)
    except NameError as error:
        logger.warning(
            "%s takes any payload, as its annotation is not known: %s", name_of(function), error
        )
        return Any
    except (TypeError, ValueError, AttributeError):
        return Any
    return kind


def _annotation(function: Any, name: str) -> Any:
    """The annotation of one parameter; that of another may be wrong."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    if not inspect.isroutine(function):
        function = type(function).__call__  # an object that can be called
    function = getattr(function, "__func__", function)  # of a method
    found = _annotations(function)
    if name not in found:
        return Any
    alone: Any = SimpleNamespace(__annotations__={name: found[name]})
    scope = getattr(function, "__globals__", {})
    return get_type_hints(alone, scope, _closed_over(function), include_extras=True)[name]


def _closed_over(function: Any) -> dict[str, Any]:
    """What a function defined in another one sees there, as far as it uses it."""
    code = getattr(function, "__code__", None)
    cells = getattr(function, "__closure__", None)
    if code is None or not cells:
        return {}
    found = {}
    for name, cell in zip(code.co_freevars, cells, strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # it has no value yet
            continue
    return found


def fitted(payload: object, kind: Any) -> Any:
    """A payload as its handler wants it.

    Raises:
        MessagingError: `invalid-packet`: it does not fit; the text names the field.
    """
    if kind is Any:
        return payload
    try:
        return msgspec.convert(payload, kind)
    except msgspec.ValidationError as error:
        raise MessagingError("invalid-packet", str(error)) from None


def takes_argument(callback: Callable[..., object]) -> bool:
    """Whether a connect callback wants the client."""
    try:
        signature = _signature(callback)
    except ValueError:  # some built-in functions have none
        return True
    try:
        signature.bind(None)
    except TypeError:
        return False
    return True
