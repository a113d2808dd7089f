"""Publishing from outside, without a server: from a script, a task of Celery, a view of Django."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from sono_core import Limits
from sono_core.limits import DEFAULT_LIMITS, require_positive
from sono_core.messaging import Publish, check_channel, check_event
from sono_core.messaging.lossless import (
    EVERYBODY,
    Backplane,
    BackplaneError,
    Data,
    History,
    Position,
    Receipt,
    stream_of,
)
from sono_core.messaging.lossless.server import written

from .choice import opened

T = TypeVar("T")

ENVELOPE = 256  # bytes of a publication beside its data, about


class _Life:
    """What a process has of its own: threads do not come along into a forked one."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.backplane: Any = None  # once something is published


class BasePublisher:
    """What both publishers do."""

    def __init__(
        self,
        backplane: str | None = None,
        *,
        timeout: float = 10.0,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        require_positive("timeout", timeout, float)
        self._url = backplane
        self._timeout = timeout
        self._limits = limits
        self._lives: dict[int, _Life] = {}  # by the process's id
        self._closed = False
        self._opened().close()  # mistakes raise here

    def close(self) -> None:
        """Publish no more. What waits fails, unless the backplane takes it at once."""
        life = self._life
        with life.lock:
            self._closed = True
        if life.backplane is not None:  # whose thread needs the lock, to end
            life.backplane.close()

    @property
    def _life(self) -> _Life:
        process = os.getpid()
        # One operation, as the first threads of a process may come together.
        return self._lives.get(process) or self._lives.setdefault(process, _Life())

    def _call(self, function: Callable[[], object]) -> None:
        with self._life.lock:
            function()

    def _opened(self) -> Backplane:
        backplane = opened(self._url, self._call, listens=False, patience=self._timeout)
        if backplane is None:
            raise ValueError("backplane must be one that processes share, not memory")
        return backplane

    def _begin(
        self,
        channel: str | None,
        event: str,
        message: object,
        history: History | None,
        key: str | None,
    ) -> "Future[Position]":
        check_event(event, self._limits)
        if channel is not None:
            check_channel(channel, self._limits)
        data = Data.of(message)
        publication = Publish(channel, event, data, None)
        stream = EVERYBODY if channel is None else stream_of(channel)
        size = data.size + ENVELOPE
        return self._ask(lambda to: to.publish(stream, publication, size, history, key))

    def _begin_erasing(self, identity: object) -> "Future[int]":
        if identity is None:
            raise ValueError("identity must not be None")
        author = written(identity)
        return self._ask(lambda to: to.erase(author))

    def _ask(self, ask: Callable[[Any], Receipt[T]]) -> "Future[T]":
        future: Future[T] = Future()
        life = self._life
        with life.lock:
            if self._closed:
                raise BackplaneError("the publisher is closed")
            if life.backplane is None:
                life.backplane = self._opened()
                life.backplane.start()
            ask(life.backplane).then(lambda receipt: _settle(future, receipt))
        return future


class Publisher(BasePublisher):
    """Publishes in channels of a backplane, blocking. From any thread, and in forked processes.

    Args:
        backplane: its URL, as for `Sono`; None: what the environment variable SONO_BACKPLANE says.
        timeout: seconds for which a publication waits for the backplane.
        limits: of names.

    Raises:
        ImportError: the backplane needs packages that are not installed.
        TypeError, ValueError: `backplane` is no URL of one that processes share.
    """

    def __enter__(self) -> "Publisher":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def publish(
        self,
        channel: str,
        event: str,
        message: object,
        *,
        key: str | None = None,
        history: History | None = None,
    ) -> Position:
        """Say something to the members of a channel, on all nodes.

        Args:
            message: as for `Channel.publish`.
            key: within five minutes, and the channel's last 1,024 publications, what has the same
                key is published once, and gives the same position: a task that is run again may
                say it again.
            history: what is kept of the channel from now on; None: what was kept so far.

        Returns:
            Its position.

        Raises:
            BackplaneError: it was not published, or it is not known whether it was; with a key it
                can be tried again.
            TypeError, ValueError, LocalProtocolError: a name or the message will not do.
        """
        return self._begin(channel, event, message, history, key).result()

    def emit(self, event: str, message: object, *, key: str | None = None) -> Position:
        """Say something to every client, in every channel; see `publish`."""
        return self._begin(None, event, message, None, key).result()

    def erase(self, identity: object) -> int:
        """Let go all that clients of an identity have said; see `Sono.erase`.

        Returns:
            How many entries are gone.

        Raises:
            BackplaneError: they may not be all.
            TypeError, ValueError: as `Sono.erase`.
        """
        return self._begin_erasing(identity).result()


def _settle(future: "Future[T]", receipt: Receipt[T]) -> None:
    if not future.set_running_or_notify_cancel():
        return  # nobody waits any more
    if receipt.error is not None:
        future.set_exception(receipt.error)
    else:
        future.set_result(receipt.value)
