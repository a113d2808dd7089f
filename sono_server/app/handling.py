"""The turns of clients of `sono.v2` with the application: what waits there, and what is done.

`sono_core.messaging.lossless.server.Conversation` says what a packet wants of the application; this
asks it, one thing after the other, and says what came of it.
"""

from collections import OrderedDict
from typing import Any

from sono_core import Limits
from sono_core.errors import RequestFailed
from sono_core.messaging import Publish
from sono_core.messaging.lossless import BackplaneError, Data, packets
from sono_core.messaging.lossless.packets import Failure
from sono_core.messaging.lossless.server import (
    Answer,
    Authorise,
    Do,
    Enumerate,
    Hear,
    Identify,
    Node,
    Work,
)
from sono_server.serving import WebSocket, logger

from .away import Away
from .clients import Client
from .hooks import failure_of
from .lines import Line, Turns
from .owner import Owner
from .payloads import fitted
from .receipts import Promise
from .trampoline import Steps
from .works import NO_PACKET, Connected, Departed, Gone, News, Resumed, Review, Suspended


class Handling:
    """What the host of a node has for the application.

    Args:
        owner: has the application.
        limits: of packets.
    """

    node: Node

    def __init__(self, owner: Owner, limits: Limits) -> None:
        self._owner = owner
        self._limits = limits
        self._silent: OrderedDict[Line, None] = OrderedDict()  # those that have not said hello
        self._waiting = 0  # bytes of packets that wait for the application

    def schedule(self) -> None:
        """Something may be due at another time than before."""
        raise NotImplementedError

    # -- what waits -------------------------------------------------------------------------------

    def take(self, line: Line, work: Work, size: int = 0) -> None:
        """Something for the application, in its turn."""
        turns = line.turns
        if isinstance(work, Identify) and isinstance(work.packet, packets.Token):
            if line.renewals is None:
                line.renewals = Turns(turns.run)
            turns = line.renewals
            self._waiting -= turns.held
            turns.waiting.clear()  # only the newest counts
            turns.held = 0
        turns.waiting.append((line, work, size))
        turns.held += size
        self._waiting += size
        turns.begin()
        if turns.held > self._limits.max_held:
            self._hold(line, turns)

    def _hold(self, line: Line, turns: Turns) -> None:
        """Take no more from a client for which so much waits, unless it is asked something: its
        reply would be behind that."""
        most = self._limits.max_held
        if line.client is not None and self.node.asks(line.client.id):
            most = self._limits.queue_limit
        holding = turns.holding or {}
        if turns.held > most and line not in holding and line.socket.open:
            turns.holding = holding | {line: None}
            line.socket._session.hold()
        elif turns.held <= most:
            self._release(turns)

    def _release(self, turns: Turns) -> None:
        holding, turns.holding = turns.holding, None
        for line in holding or ():
            line.socket._session.release()

    def tell(self, news: News) -> None:
        """Something about a client for the application, in the client's turn."""
        turns = news.client._turns
        turns.waiting.append((None, news, 0))
        turns.begin()

    def later(self, news: News) -> None:
        """The same, while something is being changed about the client."""
        turns, loop = news.client._turns, self._owner.loop
        assert loop
        turns.waiting.append((None, news, 0))
        loop.call_next_turn(turns.begin)

    def departed(self, client: Client, channel: str) -> None:
        """A client has left a channel."""
        self.later(Departed(NO_PACKET, client, channel))

    def review(self, client: Client, promise: Promise[list[str]]) -> None:
        """The application is to be asked again about the channels where a client is."""
        self.tell(Review(NO_PACKET, client, promise))

    # -- what is done -----------------------------------------------------------------------------

    def work(self, turns: Turns, _: object) -> Steps:
        """Do what waits, one after the other."""
        try:
            while turns.waiting:
                line, work, size = turns.waiting.pop(0)
                turns.held -= size
                self._waiting -= size
                if turns.holding and turns.held <= self._limits.max_held:
                    self._release(turns)
                socket: WebSocket | Away
                if line is not None:
                    socket, steps = line.socket, self._do(line, work)
                else:
                    assert isinstance(work, News)
                    socket, steps = work.client._socket, self._hear_of(work)
                try:
                    yield from steps
                except Exception as error:
                    logger.error("a client's packet failed", exc_info=error)
                    socket.close(1011, "internal error")
                finally:
                    if not isinstance(work, Hear):  # of the others some have times
                        self.schedule()
        finally:
            turns.busy, turns.task = False, None

    def _let_go(self, client: Client, socket: WebSocket | Away) -> None:
        """Hold nothing of a connection that a client has lost, unless it has another."""
        if client._socket is socket:
            client._socket = client._rate_limiter = Away(socket.request.path)
            self._owner.hub.written.clear()  # it has another socket

    def _do(self, line: Line, work: Work) -> Steps:
        conversation = line.conversation
        client = line.client
        if isinstance(work, Identify):
            yield from self._identify(line, work)
        elif client is None:
            return
        elif isinstance(work, Authorise):
            conversation.authorised(work, (yield from self._denied(client, work.channel)))
        elif isinstance(work, Hear):
            yield from self._hear(line, client, work)
        elif isinstance(work, Answer):
            yield from self._answer(line, client, work)
        elif isinstance(work, Enumerate):
            conversation.enumerated(work, (yield from self._enumerate(client)))
        else:
            assert isinstance(work, Do)
            conversation.do(work)

    def _enumerate(self, client: Client) -> Steps:
        """Channels that a client may join, wherever they are; None if that cannot be known now."""
        looked: Promise[Any] = Promise(self._owner.loop)
        self.node.look_elsewhere().then(looked.settle)
        try:
            yield looked
        except BackplaneError:
            return None
        names = []
        for channel in self.node.listed():
            if not (yield from self._denied(client, channel)):
                names.append(channel)
        return names

    def _hear_of(self, news: News) -> Steps:
        client, owner = news.client, self._owner
        if isinstance(news, Gone):
            yield from owner.gone(client, news.close)
        elif isinstance(news, Departed):
            yield from owner.departed(client, news.channel)
        elif isinstance(news, Review):
            yield from owner.reviewed(client, news.promise)
        elif isinstance(news, Suspended):
            yield from owner.suspended(client)
            self._let_go(client, news.socket)
        elif isinstance(news, Resumed):
            yield from owner.resumed(client)
        else:
            assert isinstance(news, Connected)
            yield from owner.connected(client)

    def _identify(self, line: Line, work: Identify) -> Steps:
        conversation, owner = line.conversation, self._owner
        line.request.token = work.packet.token  # type: ignore[union-attr]
        known = yield from owner.identify(line.request)
        if known is None:
            conversation.refused(work)
            return
        if (fetched := conversation.fetch(work, known.identity)) is not None:
            promise: Promise[None] = Promise(owner.loop)
            fetched.then(lambda _: promise.complete(None))
            yield promise
        wanted = conversation.identified(work, *known)
        if line.client is not None:  # with a fresh token
            session = conversation.session
            assert session is not None
            line.client.identity = session.identity
        if wanted is None or not line.socket.open:
            return
        opening = conversation.opening
        assert opening
        client = owner.clients.get(opening.session.id)
        if is_new := client is None:
            id = opening.session.id
            client = Client(line.socket, owner, line.speech, None, line.limiter, id)
            client._line, client._turns = line, line.turns
            client._callback = line.callback
        client.identity = opening.session.identity
        if isinstance(client._socket, Away):
            client._socket.opening = line.request.event
        line.client = client
        denied: dict[str, Failure] = {}
        for channel in wanted:
            if failure := (yield from self._denied(client, channel, again=True)):
                denied[channel] = failure
        if line.socket.open:
            owner.clients[client.id] = client
            if conversation.welcome(denied):
                line.turns.waiting.append((None, Connected(work.packet, client), 0))
            elif is_new:  # here, and comes from another node
                line.turns.waiting.append((None, Resumed(work.packet, client), 0))
        self._silent.pop(line, None)

    def _denied(self, client: Client, channel: str, again: bool = False) -> Steps:
        try:
            allowed = yield from self._owner.may_enter(client, channel, again)
        except RequestFailed as error:
            return failure_of(error)
        return None if allowed else Failure("forbidden", f"you may not enter {channel}")

    def _hear(self, line: Line, client: Client, work: Hear) -> Steps:
        failure = line.conversation.objection(work)
        if failure is None:
            try:
                failure = yield from self._heard(client, work)
            except Exception as error:
                failure = failure_of(error)
        effect = line.conversation.heard(work, failure)
        if effect is not None:
            said = effect
            self._owner.cause(
                client,
                said if isinstance(said, Publish) else None,
                lambda: line.conversation.publish(work, said),
            )

    def _heard(self, client: Client, work: Hear) -> Steps:
        """Why the application does not want it; None if it does."""
        owner, packet = self._owner, work.packet
        if isinstance(packet, packets.Publish):
            channel = packet.channel
            if not (yield from owner.may_publish(client, channel, work.event, work.payload)):
                return Failure("forbidden", f"you may not publish in {channel}")
        if not (yield from owner.hear(client, work.event, work.payload)):
            return Failure("declined", "the application has declined it")
        return None

    def _answer(self, line: Line, client: Client, work: Answer) -> Steps:
        conversation = line.conversation
        handler, kind = self._owner.answers.get(work.name, (None, Any))
        if handler is None:
            failure = Failure("unknown-request", f"nobody answers {work.name}")
            conversation.answered(work, None, failure)
            return
        try:
            data = Data.of((yield handler(client, fitted(work.payload, kind))))
        except Exception as error:
            conversation.answered(work, None, failure_of(error))
        else:
            conversation.answered(work, data, None)
