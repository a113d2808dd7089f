"""What an application gives to be called back, looked at when it is given and not when it fails."""

import inspect
from collections.abc import Callable


def require_callable(name: str, function: object) -> None:
    """Refuse what cannot be called.

    Raises:
        TypeError: so it is; `name` is the argument that the text names.
    """
    if not callable(function):
        raise TypeError(f"{name} must be callable, not of type {type(function).__name__}")


def require_plain(name: str, function: Callable[..., object]) -> None:
    """Refuse what cannot be called, or would have to be awaited where nobody awaits.

    Raises:
        TypeError: so it is; `name` is the argument that the text names.
    """
    require_callable(name, function)
    if is_coroutine_function(function):
        raise TypeError(f"{name} must be a plain function: nobody would await {function!r}")


def is_coroutine_function(function: Callable[..., object]) -> bool:
    """Whether it runs when what it returns is awaited; an object's `__call__` counts too."""
    of_object = type(function).__call__
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(of_object)
