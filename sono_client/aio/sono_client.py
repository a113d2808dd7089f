"""`AsyncSonoClient`: a client of a Sono server, which comes back when its connection is lost."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from sono_client.lossless import (
    ClientStatus,
    CodecName,
    Dialect,
    History,
    LosslessOptions,
    Talk,
    Ticket,
)
from sono_client.options import ConnectOptions
from sono_core.arguments import Unpack
from sono_core.errors import ConnectionClosed, OutboxFull, RequestFailed
from sono_core.messaging.classic import Incoming, Listing
from sono_core.messaging.classic import client as protocol
from sono_core.messaging.lossless import Position
from sono_core.messaging.lossless.client import DEFAULT_CLIENT_LIMITS, ClientLimits

from .channel import AsyncJoinedChannel
from .life import Events, Life

Result = TypeVar("Result")


class AsyncSonoClient(Life):
    """A client of a Sono server: channels, events from and to others, requests.

    It speaks `sono.v2`: what others say while its connection is lost comes when it is back, or is
    told as a gap. With a server that knows the classic dialect only it speaks that; then the words
    that need `sono.v2` raise RequestFailed, `unsupported`.

    `async with AsyncSonoClient(url) as sono:` connects, and leaves at the end. Callbacks, plain
    functions or coroutine functions, are called one after the other; one that raises is logged.
    They may wait for the server. Each `async for` gives all events from its beginning on; an
    iteration that you keep but do not advance blocks all others. What this side says waits in an
    outbox with the bounds of `client_limits`; beyond them calls raise OutboxFull. In another event
    loop than the one that entered it, it raises RuntimeError; so it does when it is entered again
    before its end.

    Args:
        url: as for `connect_async`.
        reconnect: whether it comes back when the connection is lost: after a random time, 0.5 to
            20 s. The first attempt is the only one if it fails.
        dialect: "v2", never anything else; "classic"; or None for v2 with a server that knows it,
            and classic for `subprotocols` of your own.
        codec: how packets of v2 are written: "json", or "msgpack" where the server knows it.
        token: who this is, for v2: a str, or a function, also a coroutine function, that gives one
            before each connection, and when the server asks for a fresh one.
        client_limits: how much is kept in v2.
        options: as for `connect_async`.

    Raises:
        ValueError, LocalProtocolError, TypeError: as `connect_async`.
    """

    def __init__(
        self,
        url: str,
        *,
        reconnect: bool = True,
        dialect: Dialect | None = None,
        codec: CodecName = "json",
        token: str | Callable[[], str | Awaitable[str]] | None = None,
        client_limits: ClientLimits = DEFAULT_CLIENT_LIMITS,
        **options: Unpack[ConnectOptions],
    ) -> None:
        speech = LosslessOptions(
            dialect=dialect,
            codec=codec,
            token=token,
            client_limits=client_limits,
            subprotocols=options.get("subprotocols", ()),
        )
        super().__init__(url, reconnect=reconnect, speech=speech, options=options)

    # -- receiving ------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[Incoming]:
        events = Events(self)
        self._iterators.add(events)
        return events

    async def run(self) -> None:
        """Wait until the connection has ended for good.

        Raises:
            ConnectionClosed: it was lost.
            ConnectError: so it was, and did not come back.
        """
        self.require_loop()
        if self._life and self._caller:
            await asyncio.wait([self._life, self._caller])
        self.check()

    # -- channels, in v2 --------------------------------------------------------------------------
    #
    # What waits for the server goes on after a connection was lost, when the next one is there.

    async def join(
        self,
        channel: str,
        *,
        at: Position | None = None,
        presence: bool = False,
        present: object = None,
    ) -> AsyncJoinedChannel:
        """Become a member of a channel, beside the current one.

        Args:
            channel: its name.
            at: the position from which on to receive what was said, if that can be had.
            presence: whether to be told who is there.
            present: this client's public data there, unless it is None.

        Raises:
            RequestFailed: it is not one: `forbidden`, for one.
            ConnectionClosed, ConnectError: the connection has ended for good.
            OutboxFull: too much waits for the server already.
            TypeError, ValueError: an argument is wrong.
        """
        joined = self._ticket(lambda talk: talk.join(channel, at=at, presence=presence))
        if present is None:
            return await self._finish(joined)
        told = self._ticket(lambda talk: talk.present(channel, present))
        found = await self._finish(joined)
        await self._finish(told)
        return found

    async def move(self, channel: str, *, at: Position | None = None) -> AsyncJoinedChannel:
        """Make a channel the current one, instead of the one that is, and wait for it.

        The arguments and errors are those of `join`.
        """
        return await self._finish(self._ticket(lambda talk: talk.move(channel, at=at)))

    async def leave(self, channel: str) -> None:
        """Be no member of a channel any more; of any but the current one. Raises as `join`."""
        await self._finish(self._ticket(lambda talk: talk.leave(channel)))

    async def publish(
        self,
        channel: str,
        event: str,
        data: object = None,
        *,
        to_self: bool = True,
        volatile: bool = False,
        harmless: bool = False,
    ) -> Position | None:
        """Say something to all members of a channel, and wait until it is published.

        Args:
            channel: its name.
            event: the event's name.
            data: any JSON value; with MessagePack also binary data.
            to_self: whether this client gets it as well.
            volatile: whether it may be lost. It is sent now or not at all, without a position, and
                nothing is waited for.
            harmless: whether it may arrive twice: then it is sent again where it would end as
                `unknown`.

        Returns:
            Its position; None if it is volatile.

        Raises:
            RequestFailed: it was refused, or given up; with the code `unknown` if it cannot be
                known whether it was published.
            ConnectionClosed, ConnectError, OutboxFull, TypeError, ValueError: as `join`.
            LocalProtocolError: the server would refuse the data.
        """
        if volatile:
            await self._drain()
            self._say(lambda talk: talk.publish_volatile(channel, event, data, to_self=to_self))
            return None

        def say(talk: Talk[AsyncJoinedChannel]) -> Ticket[Position | None]:
            return talk.publish(channel, event, data, to_self=to_self, harmless=harmless)

        return await self._finish(self._ticket(say))

    async def send(
        self,
        to: str,
        event: str,
        data: object = None,
        *,
        volatile: bool = False,
        harmless: bool = False,
    ) -> None:
        """Say something to one client, by its id, and wait until the server has it.

        The rest is as for `publish`.
        """
        if volatile:
            await self._drain()
            self._say(lambda talk: talk.send_volatile(to, event, data))
        else:
            await self._finish(
                self._ticket(lambda talk: talk.send(to, event, data, harmless=harmless))
            )

    async def request(self, name: str, data: object = None, *, timeout: float | None = None) -> Any:
        """Ask the server, and wait for the reply.

        Args:
            name: of the request.
            data: what it is about, as for `publish`.
            timeout: seconds; None for 30.

        Raises:
            RequestFailed: there is none: `timeout`, `unknown-request`, or what the server says.
            ConnectionClosed, ConnectError, OutboxFull, TypeError, ValueError, LocalProtocolError:
                as `publish`.
        """
        return await self._finish(
            self._ticket(lambda talk: talk.request(name, data, timeout=timeout))
        )

    async def present(self, channel: str, data: object) -> None:
        """Set this client's public data in a channel. Raises as `publish`."""
        await self._finish(self._ticket(lambda talk: talk.present(channel, data)))

    async def history(
        self, channel: str, *, before: Position | None = None, limit: int | None = None
    ) -> History:
        """A page of what was said in a channel, the newest last.

        Args:
            channel: its name.
            before: ends before that position; None for the newest.
            limit: how many entries at most.

        Raises:
            RequestFailed, ConnectionClosed, ConnectError, OutboxFull, TypeError: as `request`.
        """
        return await self._finish(
            self._ticket(lambda talk: talk.history(channel, before=before, limit=limit))
        )

    # -- the current channel, in both dialects ----------------------------------------------------

    async def message(self, message: object, event: str = "message") -> None:
        """Send an event to everybody in the current channel, oneself included.

        Does not wait for the result: what the server refuses is an event `error`. In v2 it waits
        for the server where the outbox is full, and without a connection it is sent later.

        Raises:
            ConnectionClosed: there is no connection now; in v2, there will be none.
            OutboxFull: too much waits, and there is no connection.
            TypeError: `message` cannot be written as JSON.
            ValueError: the event's name is reserved or illegal.
            LocalProtocolError: the server would refuse `message`: it holds a lone surrogate, NaN,
                an infinity or an integer beyond 64 bits, or exceeds one of `limits`:
                `max_depth`, `max_containers` or `max_message`.
        """
        if self._talk:
            await self._tell(lambda talk: talk.message(message, event, to_self=True))
        else:
            await self.socket.send(protocol.message(message, event, self._limits))

    async def broadcast(self, message: object, event: str = "message") -> None:
        """Send an event to everybody else in the current channel. Raises as `message`."""
        if self._talk:
            await self._tell(lambda talk: talk.message(message, event, to_self=False))
        else:
            await self.socket.send(protocol.broadcast(message, event, self._limits))

    async def direct_message(self, message: object, to: str, event: str = "message") -> None:
        """Send an event to one client, in any channel. Raises as `message`."""
        if self._talk:
            await self._tell(lambda talk: talk.direct_message(message, to, event))
        else:
            await self.socket.send(protocol.direct_message(message, to, event, self._limits))

    async def change_channel(self, name: str) -> None:
        """Make another channel the current one. Raises as `message`; ValueError for its name."""
        if self._talk:
            await self._tell(lambda talk: talk.change_channel(name))
        else:
            await self.socket.send(self._state.change_channel(name))

    async def grab(self, kind: str) -> Listing:
        """Ask for a listing and wait for it; in callbacks too.

        Its `truncated` says whether the server left names out, because there were too many.

        Args:
            kind: `myid`, `channels`, `mychannel`, `mychannelclients`, or in classic `clients`.

        Raises:
            ConnectionClosed: the connection ended before; in v2, for good.
            TypeError: `kind` is not a str.
            LocalProtocolError: it holds a lone surrogate, or is too long.
        """
        self.require_loop()
        if self._talk:
            return await self._grab_lossless(self._talk, kind)
        socket = self.socket
        await socket.drain()
        # From here on nothing waits: a question that was not sent would get the next one's answer.
        pending, packet = self._state.grab(kind)
        if not socket.send_nowait(packet):
            raise socket.error()
        self.notify()
        await self.until(lambda: pending.items is not None or socket.closed)
        if pending.items is None:
            raise socket.error()
        return pending.items

    # -- the connection ---------------------------------------------------------------------------

    async def close(self) -> None:
        """Leave the server. Idempotent; in callbacks too. Callbacks under way are cancelled.

        In v2 it first waits until the server has dealt with what was said without waiting, for
        `Timeouts.close` at most.
        """
        self.require_loop()
        talk = self._talk
        if talk and talk.open:
            await self._within(self._patience.close, lambda: not talk.owes or not talk.open)
            talk.bye()
            self._go_on()
        self._callbacks.clear()
        caller = None if self._callbacks.inside else self._caller
        answering = [task for task in self._tasks if task is not asyncio.current_task()]
        tasks = [task for task in (self._life, caller, *answering) if task]
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError:
            self.socket.cut_off()
            raise
        finally:
            self._entered = False
        await self.socket.close()
        if caller:
            await self._callbacks.run(lambda: True)  # who is told that this is the end
        self.notify()

    @property
    def status(self) -> ClientStatus:
        """How it stands with the server."""
        if self._talk:
            return self._talk.status
        if self.ended:
            return ClientStatus("closed")
        return ClientStatus("waiting" if self.socket.closed else "open")

    async def __aenter__(self) -> "AsyncSonoClient":
        if self._entered:
            raise RuntimeError("this client is in use already; make another one")
        self._entered = True
        try:
            await self._begin()
        except BaseException:
            self._give_up()
            self._entered = False
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    # -- saying ---------------------------------------------------------------------------------

    def _channel(self, name: str) -> AsyncJoinedChannel:
        return AsyncJoinedChannel(name, self)

    def _say(self, say: Callable[[Talk[AsyncJoinedChannel]], Result]) -> Result:
        """Say something in v2; it is written if there is a connection.

        Raises:
            ConnectionClosed: there will be none.
            RuntimeError: nobody has entered this client, or in another loop.
        """
        talk = self._lossless()
        self.require_loop()
        if talk.ended:
            raise self._error()
        if not self._entered:
            raise RuntimeError("the client has to be entered first, with `async with`")
        said = say(talk)
        self._go_on()
        return said

    def _ticket(self, say: Callable[[Talk[AsyncJoinedChannel]], Ticket[Result]]) -> Ticket[Result]:
        """The same, with an outcome that somebody waits for."""
        ticket = self._say(say)
        if not ticket.done:
            self._waiting[ticket.pending] = asyncio.get_running_loop().create_future()
        self.notify()  # more is received while somebody waits
        return ticket

    async def _finish(self, ticket: Ticket[Result]) -> Result:
        """Wait for an outcome."""
        if not ticket.done:
            try:
                await self._waiting[ticket.pending]
            finally:
                self._waiting.pop(ticket.pending, None)
        return ticket.result()

    async def _tell(self, say: Callable[[Talk[AsyncJoinedChannel]], None]) -> None:
        """Say something without waiting for its result."""
        while True:
            try:
                return self._say(say)
            except OutboxFull:
                if not self._lossless().open:
                    raise
                await self.changed()

    async def _drain(self) -> None:
        """Wait while much waits to be written."""
        if self._talk and self._talk.open:
            with contextlib.suppress(ConnectionClosed):
                await self.socket.drain()

    async def _grab_lossless(self, talk: Talk[AsyncJoinedChannel], kind: str) -> Listing:
        try:
            return await self._finish(self._ticket(lambda talk: talk.grab(kind)))
        except RequestFailed:
            if talk.over:
                raise self._error() from None
            raise
