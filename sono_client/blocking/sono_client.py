"""`SonoClient`: a client of a Sono server for programs without an event loop."""

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
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
from sono_core.arguments import Unpack, require_plain
from sono_core.errors import OutboxFull, RequestFailed
from sono_core.messaging.classic import Incoming, Listing
from sono_core.messaging.classic import client as protocol
from sono_core.messaging.lossless import Position
from sono_core.messaging.lossless.client import DEFAULT_CLIENT_LIMITS, ClientLimits

from .channel import JoinedChannel
from .life import Life

Result = TypeVar("Result")


class SonoClient(Life):
    """A client of a Sono server: channels, events from and to others, requests.

    It speaks `sono.v2`: what others say while its connection is lost comes when it is back, or is
    told as a gap. With a server that knows the classic dialect only it speaks that; then the words
    that need `sono.v2` raise RequestFailed, `unsupported`.

    Connects when it is made, and raises when that fails. Nothing runs in the background: bytes
    move, callbacks are called and a lost connection comes back while `run`, an iteration or a call
    that waits for the server is under way, in that thread. What the server says meanwhile waits in
    the system's buffers; a server gives up a client that does not read for long, and it comes back
    where it was, for as long as the server keeps its session (a minute) and its history. What this
    side says waits in an outbox with the bounds of `client_limits`; beyond them calls raise
    OutboxFull. Several threads may use it at once; callbacks come one after the other.

    Args:
        url: as for `connect`.
        reconnect: whether it comes back when the connection is lost: after a random time, 0.5 to
            20 s. The first attempt is the only one if it fails.
        dialect: "v2", never anything else; "classic"; or None for v2 with a server that knows it,
            and classic for `subprotocols` of your own.
        codec: how packets of v2 are written: "json", or "msgpack" where the server knows it.
        token: who this is, for v2: a str, or a function that gives one before each connection, and
            when the server asks for a fresh one.
        client_limits: how much is kept in v2.
        options: as for `connect`.

    Raises:
        ConnectError, ValueError, LocalProtocolError, TypeError: as `connect`.
        ConnectionClosed: the server has closed instead of welcoming the client; with 4011 if the
            token is refused.
    """

    def __init__(
        self,
        url: str,
        *,
        reconnect: bool = True,
        dialect: Dialect | None = None,
        codec: CodecName = "json",
        token: str | Callable[[], str] | None = None,
        client_limits: ClientLimits = DEFAULT_CLIENT_LIMITS,
        **options: Unpack[ConnectOptions],
    ) -> None:
        if callable(token):
            require_plain("token", token)
        speech = LosslessOptions(
            dialect=dialect,
            codec=codec,
            token=token,
            client_limits=client_limits,
            subprotocols=options.get("subprotocols", ()),
        )
        super().__init__(url, reconnect=reconnect, speech=speech, options=options)

    # -- receiving ------------------------------------------------------------------------------

    def run(self, timeout: float | None = None) -> None:
        """Receive and call back until the connection has ended for good, or for `timeout` seconds.

        Connects again if necessary. With a timeout of 0 it handles what has already come. A
        reconnection that has begun in time may take longer. Exceptions of callbacks are raised
        here, and `run` may be called again.

        Raises:
            ConnectionClosed: the connection was lost, or closed in another way than normally.
            ConnectError: so it was, and did not come back.
        """
        if self._until(lambda: self._over or None, timeout, self._live):
            self._run_left()
            self._raise_end()

    def __iter__(self) -> Iterator[Incoming]:
        """All events, beside calling back, until the connection has ended for good.

        Those of v2 are `Received`, which says where they stand.

        Raises:
            ConnectionClosed, ConnectError: as `run`.
            BufferError: other threads have received 65,536 events that it did not ask for.
        """
        events: deque[Incoming] = deque()
        with self._lock:
            self._iterations.append(events)
        try:
            while self._until(lambda: bool(events) or self._over or None, None, self._live):
                if not events:
                    self._run_left()
                    self._raise_end()
                    return
                if self._has_lost(events):
                    raise BufferError("too many events are waiting for the iteration")
                yield events.popleft()
        finally:
            with self._lock:
                self._iterations = [other for other in self._iterations if other is not events]

    # -- channels, in v2 --------------------------------------------------------------------------
    #
    # What waits for the server receives and calls back meanwhile, and comes back if necessary.

    def join(
        self,
        channel: str,
        *,
        at: Position | None = None,
        presence: bool = False,
        present: object = None,
    ) -> JoinedChannel:
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
        joined = self._say(lambda talk: talk.join(channel, at=at, presence=presence))
        if present is None:
            return self._finish(joined)
        told = self._say(lambda talk: talk.present(channel, present))
        found = self._finish(joined)
        self._finish(told)
        return found

    def move(self, channel: str, *, at: Position | None = None) -> JoinedChannel:
        """Make a channel the current one, instead of the one that is, and wait for it.

        The arguments and errors are those of `join`.
        """
        return self._finish(self._say(lambda talk: talk.move(channel, at=at)))

    def leave(self, channel: str) -> None:
        """Be no member of a channel any more; of any but the current one. Raises as `join`."""
        self._finish(self._say(lambda talk: talk.leave(channel)))

    def publish(
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
            self._say(lambda talk: talk.publish_volatile(channel, event, data, to_self=to_self))
            return None

        def say(talk: Talk[JoinedChannel]) -> Ticket[Position | None]:
            return talk.publish(channel, event, data, to_self=to_self, harmless=harmless)

        return self._finish(self._say(say))

    def send(
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
            self._say(lambda talk: talk.send_volatile(to, event, data))
        else:
            self._finish(self._say(lambda talk: talk.send(to, event, data, harmless=harmless)))

    def request(self, name: str, data: object = None, *, timeout: float | None = None) -> Any:
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
        return self._finish(self._say(lambda talk: talk.request(name, data, timeout=timeout)))

    def present(self, channel: str, data: object) -> None:
        """Set this client's public data in a channel. Raises as `publish`."""
        self._finish(self._say(lambda talk: talk.present(channel, data)))

    def history(
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
        return self._finish(
            self._say(lambda talk: talk.history(channel, before=before, limit=limit))
        )

    # -- the current channel, in both dialects ----------------------------------------------------

    def message(self, message: object, event: str = "message") -> None:
        """Send an event to everybody in the current channel, oneself included.

        Does not wait for the result: what the server refuses is an event `error`. In v2 it waits
        for the server where the outbox is full, and without a connection it is sent later.

        Raises:
            ConnectionClosed: there is no connection; in v2, there will be none.
            OutboxFull: too much waits, and there is no connection.
            TypeError: `message` cannot be written as JSON.
            ValueError: the event's name is reserved or illegal.
            LocalProtocolError: the server would refuse `message`: it holds a lone surrogate, NaN,
                an infinity or an integer beyond 64 bits, or exceeds one of `limits`:
                `max_depth`, `max_containers` or `max_message`.
        """
        if self._talk:
            self._tell(lambda talk: talk.message(message, event, to_self=True))
        else:
            self.socket.send(protocol.message(message, event, self._limits))

    def broadcast(self, message: object, event: str = "message") -> None:
        """Send an event to everybody else in the current channel. Raises as `message`."""
        if self._talk:
            self._tell(lambda talk: talk.message(message, event, to_self=False))
        else:
            self.socket.send(protocol.broadcast(message, event, self._limits))

    def direct_message(self, message: object, to: str, event: str = "message") -> None:
        """Send an event to one client, in any channel. Raises as `message`."""
        if self._talk:
            self._tell(lambda talk: talk.direct_message(message, to, event))
        else:
            self.socket.send(protocol.direct_message(message, to, event, self._limits))

    def change_channel(self, name: str) -> None:
        """Make another channel the current one. Raises as `message`; ValueError for its name."""
        if self._talk:
            self._tell(lambda talk: talk.change_channel(name))
        else:
            self.socket.send(self._state.change_channel(name))

    def grab(self, kind: str, timeout: float | None = 10.0) -> Listing:
        """Ask for a listing and wait for it.

        Its `truncated` says whether the server left names out, because there were too many.

        Args:
            kind: `myid`, `channels`, `mychannel`, `mychannelclients`, or in classic `clients`.
            timeout: seconds to wait at most.

        Raises:
            ConnectionClosed: the connection ended before; in v2, for good.
            TimeoutError: no answer came in time.
            TypeError: `kind` is not a str.
            LocalProtocolError: it holds a lone surrogate, or is too long.
        """
        if self._talk:
            return self._grab_lossless(self._talk, kind, timeout)
        with self._lock:  # else the question might be registered with the next connection
            socket = self.socket
            if self._end:
                raise socket.error()
            pending, packet = self._state.grab(kind)
        socket.send(packet)

        def answer() -> Listing | None:
            if pending.items is None and (self._end or self.socket is not socket):
                raise socket.error()
            return pending.items

        items = self._until(answer, timeout, self._receive)
        if items is None:
            raise TimeoutError(f"{kind!r} was not answered in time")
        return items

    # -- the connection -------------------------------------------------------------------------

    def close(self) -> None:
        """Leave the server. Waiting threads return; `run` and iterations end normally.

        In v2 it first waits until the server has dealt with what was said without waiting, for
        `Timeouts.close` at most. Only a thread that connects just now takes until that has
        succeeded or failed.
        """
        talk = self._talk
        try:
            if talk and talk.open and not self._closing.is_set():
                self._until(partial(_owes_nothing, talk), self._patience.close, self._live)
        finally:
            with self._lock:
                self._closing.set()
                socket = self.socket
                if talk:
                    talk.bye()
                self._leader.notify()
            self._flush()
            socket.close()
            if talk:
                self._end_talk(talk)

    @property
    def status(self) -> ClientStatus:
        """How it stands with the server."""
        if self._talk:
            return self._talk.status
        if self._over:
            return ClientStatus("closed")
        due = self._due
        if self._end and due is not None:
            return ClientStatus("waiting", max(0.0, due - self._time()))
        return ClientStatus("open")

    def __enter__(self) -> "SonoClient":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # -- saying ---------------------------------------------------------------------------------

    def _channel(self, name: str) -> JoinedChannel:
        return JoinedChannel(name, self)

    def _say(self, say: Callable[[Talk[JoinedChannel]], Result]) -> Result:
        """Say something in v2, and write it if there is a connection.

        Raises:
            ConnectionClosed: there will be none.
        """
        talk = self._lossless()
        with self._lock:
            if talk.ended:
                raise self.socket.error()
            said = say(talk)
        self._flush()
        return said

    def _finish(self, ticket: Ticket[Result]) -> Result:
        """Wait for an outcome."""
        self._until(lambda: ticket.done or None, None, self._live)
        return ticket.result()

    def _tell(self, say: Callable[[Talk[JoinedChannel]], None]) -> None:
        """Say something without waiting for its result."""
        self._look()
        while True:
            try:
                return self._say(say)
            except OutboxFull:
                talk = self._lossless()
                if not talk.open:
                    raise
                before = talk.received
                self._until(partial(_moved, talk, before), None, self._live)

    def _grab_lossless(
        self, talk: Talk[JoinedChannel], kind: str, timeout: float | None
    ) -> Listing:
        ticket = self._say(lambda talk: talk.grab(kind))
        if not self._until(lambda: ticket.done or None, timeout, self._live):
            raise TimeoutError(f"{kind!r} was not answered in time")
        try:
            return ticket.result()
        except RequestFailed:
            if talk.over:
                raise self.socket.error() from None
            raise


def _moved(talk: Talk[JoinedChannel], before: int) -> bool | None:
    """Whether there may be room in the outbox now, or never will be on this connection."""
    return talk.received != before or not talk.open or None


def _owes_nothing(talk: Talk[JoinedChannel]) -> bool | None:
    """Whether all that was said without waiting has its outcome, or will not have one soon."""
    return not talk.owes or not talk.open or None
