"""Validates arguments when they are given, not when they are used, and a function's options."""

import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Collection, Mapping
from functools import wraps
from types import FunctionType, MethodType
from typing import Any, ParamSpec, TypeVar, get_args, get_type_hints

if sys.version_info >= (3, 11):  # others import it from here
    from typing import Unpack
else:
    from typing_extensions import Unpack

__all__ = [
    "Unpack",
    "is_coroutine_function",
    "name_of",
    "require_callable",
    "require_plain",
    "require_strings",
    "require_type",
    "takes_options",
]

_WIDTH = 96  # characters of a docstring's line, without the indentation of its function
_OPTIONS = re.compile(r"^    options: .*(?:\n     .*)*", re.MULTILINE)

P = ParamSpec("P")
Result = TypeVar("Result")


def require_callable(name: str, function: object) -> None:
    """Check that an argument can be called.

    Raises:
        TypeError: it cannot; the text calls it `name`.
    """
    if not callable(function):
        raise TypeError(f"{name} must be callable, not of type {type(function).__name__}")


def require_type(name: str, value: object, *kinds: type | None) -> None:
    """Check the type of an argument, which may be None if that is one of the kinds.

    The text of the error does not quote the value, which may be secret.

    Raises:
        TypeError: it is of another type; the text calls it `name`.
    """
    if value is None and None in kinds:
        return
    types = tuple(kind for kind in kinds if kind is not None)
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        wanted = " or ".join("None" if kind is None else kind.__name__ for kind in kinds)
        raise TypeError(f"{name} must be of type {wanted}, not {type(value).__name__}")


def require_strings(name: str, values: object) -> None:
    """Check that an argument is a collection of str, which can be read more than once.

    Raises:
        TypeError: it is not; the text calls it `name`.
    """
    if isinstance(values, (str, bytes, bytearray)) or not isinstance(values, Collection):
        raise TypeError(f"{name} must be a collection of str, not {type(values).__name__}")
    for number, value in enumerate(values):
        require_type(f"{name}[{number}]", value, str)


def require_plain(name: str, function: Callable[..., object]) -> None:
    """Check that an argument can be called, and need not be awaited.

    Raises:
        TypeError: it cannot, or it is a coroutine function; the text calls it `name`.
    """
    require_callable(name, function)
    if is_coroutine_function(function):
        raise TypeError(f"{name} must be a plain function: nobody would await {name_of(function)}")


def name_of(function: object) -> str:
    """What an error calls a function: not its repr, which may hold arguments."""
    name: str = getattr(function, "__qualname__", type(function).__qualname__)
    return name


def is_coroutine_function(function: Callable[..., object]) -> bool:
    """Whether a call returns a coroutine; an object's `__call__` counts too."""
    plain = function.__func__ if type(function) is MethodType else function
    if type(plain) is FunctionType and not plain.__dict__:  # nearly all, and nothing marks them
        return bool(plain.__code__.co_flags & inspect.CO_COROUTINE)
    of_object = type(function).__call__
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(of_object)


def takes_options(options: type) -> Callable[[Callable[P, Result]], Callable[P, Result]]:
    """Decorator: show and check what a function takes as `**options: Unpack[...]`.

    `inspect.signature` shows each option with its type and default. In the docstring the options'
    descriptions replace the entry `options: ...`. A name that is no parameter raises TypeError,
    as if all of them stood in the function's own signature.

    Args:
        options: a dataclass whose fields are keyword-only and declared as
            `name: Annotated[type, "description"] = default`.
    """
    types = get_type_hints(options)
    shown = [
        field.replace(annotation=types[field.name])
        for field in inspect.signature(options).parameters.values()
    ]
    described = {
        name: get_args(hint)[1]
        for name, hint in get_type_hints(options, include_extras=True).items()
    }

    def decorate(function: Callable[P, Result]) -> Callable[P, Result]:
        signature = inspect.signature(function)
        *own, _ = signature.parameters.values()  # all but `**options`
        signature = signature.replace(parameters=[*own, *shown])

        @wraps(function)
        def checked(*arguments: P.args, **keywords: P.kwargs) -> Result:
            for name in keywords:
                if name not in signature.parameters:
                    unexpected = f"got an unexpected keyword argument {name!r}"
                    raise TypeError(f"{function.__qualname__}() {unexpected}")
            return function(*arguments, **keywords)

        shaped: Any = checked
        shaped.__signature__ = signature
        if function.__doc__:  # python -OO has none
            shaped.__doc__ = _documented(function.__doc__, described)
        return checked

    return decorate


def _documented(text: str, described: Mapping[str, str]) -> str:
    """A docstring with an entry for each option where it has one for all."""
    entries = "\n".join(
        textwrap.fill(
            f"{name}: {description}",
            _WIDTH,
            initial_indent=" " * 4,
            subsequent_indent=" " * 8,
            break_on_hyphens=False,
        )
        for name, description in described.items()
    )
    return _OPTIONS.sub(lambda _: entries, inspect.cleandoc(text))
