"""Every exception of the packages survives being copied and sent to another process."""

from __future__ import annotations

import concurrent.futures
import copy
import importlib
import inspect
import multiprocessing
import pickle
import pkgutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import pytest

from sono_core.errors import ConnectionClosed
from sono_server import Refused
from tests.servers import PATIENCE

PACKAGES = ("sono_core", "sono_io", "sono_server", "sono_client")

ARGUMENTS: dict[str, object] = {
    "body": b"no",
    "code": 4003,
    "headers": (("retry-after", "9"),),
    "reason": "no more",
    "retry_after": 9.0,
    "seq": 7,
    "status": 403,
    "temporary": True,
    "text": "a text",
    "traceback": "Traceback\n",
    "untrusted": True,
}
"""A value for each parameter of their constructors, by its name."""


ON_REDIS = "sono_server.backplane.redis"
HAS_REDIS = find_spec("redis") is not None


def modules() -> Iterator[str]:
    for package in PACKAGES:
        yield package
        found = pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
        names = [each.name for each in found if not each.name.endswith("__main__")]
        yield from (name for name in names if HAS_REDIS or not name.startswith(ON_REDIS))


def exceptions() -> list[type[BaseException]]:
    """The classes of all packages; a new one is found by itself."""
    found = {
        kind
        for module in modules()
        for kind in vars(importlib.import_module(module)).values()
        if inspect.isclass(kind) and issubclass(kind, BaseException)
    }
    own = (kind for kind in found if kind.__module__.partition(".")[0] in PACKAGES)
    return sorted(own, key=lambda kind: (kind.__module__, kind.__qualname__))


def made(kind: type[BaseException]) -> BaseException:
    if kind.__init__ is BaseException.__init__ or "__init__" not in _written(kind):
        return kind("a text")
    parameters = list(inspect.signature(kind).parameters.values())
    positional = [ARGUMENTS[each.name] for each in parameters if each.kind is not each.KEYWORD_ONLY]
    named = {
        each.name: ARGUMENTS[each.name] for each in parameters if each.kind is each.KEYWORD_ONLY
    }
    return kind(*positional, **named)


def _written(kind: type[BaseException]) -> set[str]:
    return {
        name
        for each in kind.__mro__
        if each.__module__.partition(".")[0] in PACKAGES
        for name in vars(each)
    }


def assert_same(error: BaseException, other: BaseException) -> None:
    assert type(other) is type(error)
    assert other is not error
    assert (str(other), repr(other), other.args) == (str(error), repr(error), error.args)
    assert vars(other) == vars(error)


def by_pickle(protocol: int) -> Callable[[BaseException], BaseException]:
    def copied(error: BaseException) -> BaseException:
        other = pickle.loads(pickle.dumps(error, protocol))
        assert isinstance(other, BaseException)
        return other

    return copied


WAYS = {
    **{f"pickle {each}": by_pickle(each) for each in range(pickle.HIGHEST_PROTOCOL + 1)},
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


def test_the_exceptions_are_found() -> None:
    names = {kind.__name__ for kind in exceptions()}
    assert names >= {"ConnectionClosed", "ConnectError", "PacketError", "Refused", "Mistake"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", exceptions(), ids=lambda kind: kind.__name__)
def test_a_copy_of_an_exception_is_the_same(kind: type[BaseException], way: str) -> None:
    error = made(kind)
    assert_same(error, WAYS[way](error))
    assert_same(error, WAYS[way](WAYS[way](error)))


def test_what_was_added_to_an_exception_is_copied_too() -> None:
    class Own(ConnectionClosed):
        """As an application may derive it."""

        def __init__(self) -> None:
            super().__init__(4003, "no more")

    error = Own()
    error.tried = 3  # type: ignore[attr-defined]
    assert_same(error, copy.deepcopy(error))


def test_headers_that_can_be_read_once_are_kept() -> None:
    refused = Refused(403, headers=(pair for pair in [("a", "b")]))
    assert pickle.loads(pickle.dumps(refused)).headers == (("a", "b"),)


def raised(error: BaseException) -> None:
    raise error


def test_exceptions_reach_the_parent_of_a_process() -> None:
    spawn = multiprocessing.get_context("spawn")
    errors = [made(kind) for kind in exceptions() if issubclass(kind, Exception)]
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as executor:
        for error, future in [(each, executor.submit(raised, each)) for each in errors]:
            other = future.exception(6 * PATIENCE)
            assert other is not None
            assert (type(other), str(other)) == (type(error), str(error))
            kept = {name: value for name, value in vars(other).items() if name != "__notes__"}
            assert kept == vars(error)
