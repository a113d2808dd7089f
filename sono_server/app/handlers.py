"""The decorators by which an application registers its functions."""

from collections.abc import Callable
from typing import Any, TypeVar, overload

from sono_core import Limits
from sono_core.arguments import require_callable
from sono_core.messaging import check_event
from sono_server.serving import HTTPRequest, awaited

from .dispatch import Dispatcher
from .patterns import ALL, ByPattern
from .payloads import payload_type

Function = TypeVar("Function", bound=Callable[..., object])


class Handlers:
    """The decorators of `Sono`.

    On asyncio each function may be a coroutine function; what its client sends next waits until it
    is done. On selectors a function may return a `Promise` instead.

    Args:
        dispatcher: calls the functions.
        limits: of names.
    """

    def __init__(self, dispatcher: Dispatcher, limits: Limits) -> None:
        self._dispatcher = dispatcher
        self._limits = limits
        self._functions: list[Callable[..., object]] = []  # all but `authenticate`
        self._authenticate: Callable[[HTTPRequest], object] | None = None

    # -- who is it --------------------------------------------------------------------------------

    def authenticate(self, function: Function) -> Function:
        """Decorator: call the function as `f(request)` to say who sent the request.

        It may look at `request.headers`, `cookies`, `query` and `client`, and returns the client's
        `identity`. If it returns None or False, the request is refused with 403; it may raise
        `Refused` for another status. Requests that cannot be accepted anyway, for example from
        foreign pages, are refused without calling it. It is called before the 101. On asyncio it
        may be a coroutine function, which has the time of the handshake; until it returns, Sono
        reads nothing of the client.

        For a client of `sono.v2` it is called when the client has said hello, at each resume, and
        for each fresh token; `request.token` is what the client sent, and who is refused is closed
        with 4011.

        An identity may end: at its attribute or key `expires_at`, in seconds since the epoch or as
        a datetime with a time zone. A client of `sono.v2` is asked for a fresh token a minute
        before (less, if the identity lasts less than four minutes), and closed with 4011 if none
        has come by then; whoever else has such an identity is closed at that time. Two identities
        that differ in nothing but `expires_at` are the same.

        Raises:
            ValueError: there is one already.
            TypeError: it cannot be called.
        """
        require_callable("function", function)
        if self._authenticate:
            raise ValueError("authenticate was called before")
        self._authenticate = function
        return function

    # -- what clients say -------------------------------------------------------------------------

    def on(self, event: str) -> Callable[[Function], Function]:
        """Decorator: call the function as `f(client, message)` before such a packet is routed.

        If it returns False, the packet goes no further. If `message` is annotated with a type that
        msgspec knows (a Struct, a dataclass, a TypedDict, Annotated with bounds), the function gets
        that; a packet that does not fit is refused. It may raise `RequestFailed` to say why it
        refuses. Several functions are called in order. On
        asyncio they may be coroutine functions; the client's next packet waits until they are done.

        Raises:
            ValueError: the event's name is reserved or illegal.
            TypeError: it cannot be called; or it is a coroutine function, and clients of a server
                that calls plain ones are connected.
        """
        check_event(event, self._limits)

        def register(function: Function) -> Function:
            self._register(function)
            handlers = self._dispatcher.handlers.setdefault(event, [])
            handlers.append((function, payload_type(function)))
            return function

        return register

    def on_request(self, name: str) -> Callable[[Function], Function]:
        """Decorator: answer requests of that name with what the function `f(client, data)` returns.

        `data` may be annotated as in `on`. What it returns may be anything that msgspec can write.
        If it raises `RequestFailed`, the client is told that; after any other exception, that it
        failed.

        Raises:
            ValueError: the name is illegal, begins with `sono.`, or has a function already.
            TypeError: as for `on`.
        """
        check_event(name, self._limits)
        answers = self._dispatcher.answers
        if name.startswith("sono."):
            raise ValueError(f"{name!r}: names that begin with sono. are the server's own")
        if name in answers:
            raise ValueError(f"requests of the name {name!r} are answered already")

        def register(function: Function) -> Function:
            self._register(function)
            answers[name] = function, payload_type(function)
            return function

        return register

    # -- channels ---------------------------------------------------------------------------------

    @overload
    def on_join(self, function: Function, /) -> Function: ...
    @overload
    def on_join(self, pattern: str = ..., /) -> Callable[[Function], Function]: ...
    def on_join(self, pattern: Any = ALL, /) -> Any:
        """Decorator: call the function as `f(client, channel)` before a client enters a channel.

        `@sono.on_join("room:*")` is for the channels whose names match: `*`, `?` and `[…]` mean
        what they do in `fnmatch`. `@sono.on_join` is for all. Of the functions for a channel every
        one must agree; they are called in the order in which they were registered.

        `channel` is the name, which may not exist. If a function returns False, the client stays
        where it is and is told `forbidden`; it may raise `RequestFailed` to say why. If it raises
        anything else, the client is closed with 1011. A client that may enter a channel creates it,
        if a pattern that is written here matches the name; any other name follows `open_channels`.
        A channel that no function is for is open to every client.

        It is not asked about the home channel of new clients. At each resume it is asked again
        about all channels where the client was; see also `Client.reauthorise`. It is asked, too,
        which channels a client may be told of that asks for all there are: of `sono.v2` about each,
        and in the classic dialect about those whose names a written pattern matches.

        Raises:
            TypeError: as for `on`; or the pattern is no str.
        """
        return self._by_pattern(self._dispatcher.on_join, pattern)

    @overload
    def on_leave(self, function: Function, /) -> Function: ...
    @overload
    def on_leave(self, pattern: str = ..., /) -> Callable[[Function], Function]: ...
    def on_leave(self, pattern: Any = ALL, /) -> Any:
        """Decorator: call the function as `f(client, channel)` when a client has left a channel.

        That is once for each membership that ends, the home channel's too: by the client's wish or
        yours, and, before `on_disconnect`, because the client is gone. A client of `sono.v2` that
        has lost its connection has left nothing.

        Args:
            pattern: as for `on_join`.

        Raises:
            TypeError: as for `on_join`.
        """
        return self._by_pattern(self._dispatcher.on_leave, pattern)

    @overload
    def on_publish(self, function: Function, /) -> Function: ...
    @overload
    def on_publish(self, pattern: str = ..., /) -> Callable[[Function], Function]: ...
    def on_publish(self, pattern: Any = ALL, /) -> Any:
        """Decorator: call the function as `f(client, channel, event, message)` before a client says
        something in a channel.

        If it returns False, nobody gets that, and the client is told `forbidden`; it may raise
        `RequestFailed` to say why. Every function for a channel must agree. It is called before the
        functions of `on`, and only if the client is a member; not for what the application says.

        Args:
            pattern: as for `on_join`.

        Raises:
            TypeError: as for `on_join`.
        """
        return self._by_pattern(self._dispatcher.on_publish, pattern)

    def _by_pattern(self, functions: ByPattern, pattern: Any) -> Any:
        def register(function: Function) -> Function:
            self._register(function)
            functions.add(ALL if bare else pattern, function)
            return function

        bare = pattern is not ALL and not isinstance(pattern, str)
        return register(pattern) if bare else register

    # -- coming and going -------------------------------------------------------------------------

    def on_connect(self, function: Function) -> Function:
        """Decorator: call the function as `f(client)` when a client is in the home channel.

        A client of `sono.v2` that comes back to its session is not new.

        Raises:
            TypeError: as for `on`.
        """
        self._register(function)
        self._dispatcher.on_connect.append(function)
        return function

    def on_suspend(self, function: Function) -> Function:
        """Decorator: call the function as `f(client)` when a client of `sono.v2` has lost its
        connection.

        Its session goes on: it is a member of its channels, and finds what it has missed when it
        comes back. Either `on_resume` or `on_disconnect` follows; here, or in another process that
        shares the backplane.

        Raises:
            TypeError: as for `on`.
        """
        self._register(function)
        self._dispatcher.on_suspend.append(function)
        return function

    def on_resume(self, function: Function) -> Function:
        """Decorator: call the function as `f(client)` when a client of `sono.v2` has another
        connection, after `on_suspend`.

        Also when it comes from another process that shares the backplane, instead of `on_connect`:
        then the client's `data` is None.

        Raises:
            TypeError: as for `on`.
        """
        self._register(function)
        self._dispatcher.on_resume.append(function)
        return function

    def on_disconnect(self, function: Function) -> Function:
        """Decorator: call the function as `f(client, close)` when a client has left.

        Of `sono.v2` that is when its session has ended, once, however many connections it had.

        Raises:
            TypeError: as for `on`.
        """
        self._register(function)
        self._dispatcher.on_disconnect.append(function)
        return function

    def _register(self, function: Callable[..., object]) -> None:
        """Register a function of the application."""
        require_callable("function", function)
        if self._dispatcher.loop:
            awaited(self._dispatcher.loop, function)
        self._functions.append(function)
