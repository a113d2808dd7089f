"""Two connections under random legal and illegal calls, each connected to the other.

The expected events come from the sending side: its sent events and automatic answers, in their
order; the other side receives a prefix of them.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from sono_core import (
    LEGAL,
    Accept,
    BinaryMessage,
    Close,
    Connection,
    Deflate,
    Event,
    Headers,
    LocalProtocolError,
    Ping,
    Pong,
    Prepared,
    Reject,
    Request,
    Role,
    State,
    TextMessage,
)
from tests.helpers import repeatable

from .strategies import closes, illegal_values, messages, pings, pongs, roles

REQUEST = Request("/chat?room=1", host="example.com", subprotocols=("a", "b"))

# For each kind of event, what is illegal in it even if the kind itself is legal.
ILLEGAL_HANDSHAKES: dict[type, list[Event]] = {
    Request: [
        Request("/", host="example.com", method="POST"),
        Request("/", host=""),
        Request("no slash", host="example.com"),
        Request("/#fragment", host="example.com"),
        Request("/", Headers({"upgrade": "h2c"}), host="example.com"),
        Request("/", Headers({"x": "a\r\nb: c"}), host="example.com"),
        Request("/", host="example.com", subprotocols=("a", "a")),
    ],
    Accept: [
        Accept("not offered"),
        Accept(None, Headers({"sec-websocket-accept": "x"})),
        Accept("a", Headers({"x": "\0"})),
    ],
    Reject: [Reject(101), Reject(99), Reject(600), Reject(403, Headers({"bad name": "x"}))],
}

any_kind: st.SearchStrategy[Any] = st.one_of(
    messages,
    messages.map(Prepared),
    pings,
    pongs,
    closes,
    st.just(REQUEST),
    st.sampled_from([Accept(), Accept("b"), Accept(None, Headers({"x-a": "b"}))]),
    st.sampled_from([Reject(403), Reject(404, body=b"nothing here")]),
)


class Side:
    """A connection and the model of its state."""

    def __init__(self, role: Role, deflate: Deflate | None) -> None:
        source = repeatable() if role is Role.CLIENT else None
        self.connection = Connection(role, deflate=deflate, random=source)
        self.sent: list[Event] = []
        """Every event that went into its outbox after the handshake."""
        self.received: list[Event] = []
        """Every event that it gave after the handshake."""
        self.answer: Event | None = None
        """The event of the handshake's answer, received or sent."""
        self.opened = False
        self.ended = False
        """Whether its peer's stream has ended, as far as it knows."""
        self.closed_itself = False

    @property
    def state(self) -> State:
        return self.connection.state

    @property
    def snapshot(self) -> tuple[State, int, str | None]:
        connection = self.connection
        return connection.state, connection.outbox.size, connection.subprotocol


class TwoConnections(RuleBasedStateMachine):
    """A client and a server, and the bytes between them."""

    def __init__(self) -> None:
        super().__init__()
        self.sides: dict[Role, Side] = {}
        self.wire: dict[Role, bytearray] = {}  # by sender

    @initialize(
        deflates=st.lists(
            st.one_of(
                st.none(),
                st.just(Deflate()),
                st.just(Deflate(threshold=0)),
                st.just(Deflate(context_takeover=True, threshold=0)),
            ),
            min_size=2,
            max_size=2,
        ),
        opened=st.sampled_from([True, True, True, False]),
    )
    def start(self, deflates: list[Deflate | None], opened: bool) -> None:
        for role, deflate in zip((Role.CLIENT, Role.SERVER), deflates, strict=True):
            self.sides[role] = Side(role, deflate)
            self.wire[role] = bytearray()
        if opened:
            self.send(Role.CLIENT, REQUEST)
            self.write(Role.CLIENT)
            self.deliver(Role.CLIENT, 1.0, True)
            self.send(Role.SERVER, Accept("b"))
            self.write(Role.SERVER)
            self.deliver(Role.SERVER, 1.0, True)

    # -- helpers --------------------------------------------------------------------------------

    def other(self, role: Role) -> Role:
        return Role.SERVER if role is Role.CLIENT else Role.CLIENT

    def refused(self, side: Side, event: Any, *errors: type[Exception]) -> None:
        """The call raises and changes nothing."""
        before = side.snapshot
        with pytest.raises(errors):
            side.connection.send(event)
        assert side.snapshot == before

    # -- calls ----------------------------------------------------------------------------------

    @rule(role=roles, event=any_kind)
    def send(self, role: Role, event: Any) -> None:
        side = self.sides[role]
        connection = side.connection
        if type(event) not in LEGAL[role, side.state]:
            self.refused(side, event, LocalProtocolError)
            return
        waiting = connection.outbox.size
        connection.send(event)
        assert connection.outbox.size > waiting
        if isinstance(event, Request):
            assert side.state is State.REQUESTED
        elif isinstance(event, Accept):
            assert side.state is State.OPEN
            assert connection.subprotocol == event.subprotocol
            side.answer, side.opened = event, True
        elif isinstance(event, Reject):
            assert side.state is State.CLOSED
            side.answer = event
        else:
            if isinstance(event, Prepared):
                payload = event.payload
                event = (
                    TextMessage(payload.decode()) if event.opcode == 1 else BinaryMessage(payload)
                )
            side.sent.append(event)
            side.closed_itself = isinstance(event, Close)
            assert side.state is (State.CLOSING if side.closed_itself else State.OPEN)

    @rule(role=roles, event=messages)
    def message(self, role: Role, event: Event) -> None:
        self.send(role, event)

    @rule(role=roles, event=illegal_values)
    def illegal_value(self, role: Role, event: Any) -> None:
        self.refused(self.sides[role], event, LocalProtocolError, TypeError)

    @rule(role=roles, data=st.data())
    def illegal_handshake(self, role: Role, data: st.DataObject) -> None:
        legal = LEGAL[role, self.sides[role].state]
        for kind, events in ILLEGAL_HANDSHAKES.items():
            event = data.draw(st.sampled_from(events))
            errors = (LocalProtocolError, TypeError) if kind in legal else (LocalProtocolError,)
            self.refused(self.sides[role], event, *errors)

    @rule(role=roles, event=st.sampled_from([None, "text", b"data", 5, object(), TextMessage]))
    def no_event(self, role: Role, event: Any) -> None:
        self.refused(self.sides[role], event, LocalProtocolError)

    # -- bytes ----------------------------------------------------------------------------------

    @rule(role=roles)
    def write(self, role: Role) -> None:
        """All waiting bytes go on the wire."""
        connection = self.sides[role].connection
        size = connection.outbox.size
        data = connection.data_to_send()
        assert len(data) == size
        assert connection.outbox.size == 0
        self.wire[role] += data

    @rule(role=roles, share=st.floats(0, 1))
    def write_a_part(self, role: Role, share: float) -> None:
        """As a transport does that cannot write everything."""
        outbox = self.sides[role].connection.outbox
        waiting = outbox.size
        chunk = bytes(outbox.peek())
        size = int(share * len(chunk))
        if size:
            outbox.advance(size)
            self.wire[role] += chunk[:size]
            assert outbox.size == waiting - size

    @rule(sender=roles, share=st.sampled_from([0.01, 0.3, 0.9, 1.0]), pull=st.booleans())
    def deliver(self, sender: Role, share: float, pull: bool) -> None:
        """Some of the bytes on the wire arrive, at least one."""
        wire = self.wire[sender]
        size = min(len(wire), int(share * len(wire)) + 1)
        side = self.sides[self.other(sender)]
        if side.ended or not size:
            return
        before = side.snapshot
        side.connection.receive_data(bytes(wire[:size]))
        assert side.snapshot == before  # parsed and answered when pulled, not before
        del wire[:size]
        if pull:
            self.pull(self.other(sender))

    @precondition(lambda self: all(side.state is State.OPEN for side in self.sides.values()))
    @rule()
    def everything_arrives(self) -> None:
        for role in (Role.CLIENT, Role.SERVER, Role.CLIENT, Role.SERVER):
            self.write(role)
            self.deliver(role, 1.0, True)

    @rule(role=roles)
    def pull(self, role: Role) -> None:
        while self.next_event(role):
            pass

    @rule(role=roles)
    def pull_one(self, role: Role) -> None:
        self.next_event(role)

    def next_event(self, role: Role) -> bool:
        side = self.sides[role]
        before, waiting = side.state, side.connection.outbox.size
        event = side.connection.next_event()
        if before in (State.CLOSING, State.CLOSED):
            assert side.connection.outbox.size == waiting  # nothing follows a Close
        if event is None:
            return False
        self.check_event(role, side, event, before)
        return True

    def check_event(self, role: Role, side: Side, event: Event, before: State) -> None:
        peer = self.sides[self.other(role)]
        if isinstance(event, Request):
            assert (role, before) == (Role.SERVER, State.CONNECTING)
            assert (event.target, event.host) == (REQUEST.target, REQUEST.host)
            assert event.subprotocols == REQUEST.subprotocols
        elif isinstance(event, (Accept, Reject)):
            assert role is Role.CLIENT
            assert before is State.REQUESTED or isinstance(event, Reject)  # an early refusal
            side.answer = event
            side.opened = isinstance(event, Accept)
            self.check_answer(event, peer.answer, side.ended)
        else:
            assert side.opened
            side.received.append(event)
            if isinstance(event, Ping) and before is State.OPEN:
                side.sent.append(Pong(event.payload))
            elif isinstance(event, Close) and event.clean and before is State.OPEN:
                side.sent.append(Close(event.code, ""))

    def check_answer(self, got: Accept | Reject, sent: Event | None, ended: bool) -> None:
        if isinstance(got, Accept):
            assert isinstance(sent, Accept)
            assert got.subprotocol == sent.subprotocol
            assert dict(sent.headers).items() <= dict(got.headers).items()
        elif got.status:
            assert isinstance(sent, Reject)
            assert got.status == sent.status
            assert got.body == sent.body or ended
        else:
            assert ended

    @rule(sender=roles, pull=st.booleans())
    def end_of_stream(self, sender: Role, pull: bool) -> None:
        """The stream from that side breaks off; the bytes on the wire are lost."""
        side = self.sides[self.other(sender)]
        side.connection.receive_data(b"")
        side.ended = True
        self.wire[sender].clear()
        if pull:
            self.pull(self.other(sender))

    # -- what always holds ----------------------------------------------------------------------

    @invariant()
    def received_is_what_was_sent(self) -> None:
        for role, side in self.sides.items():
            received = side.received
            last = received[-1] if received else None
            assert not any(isinstance(event, Close) for event in received[:-1])
            if isinstance(last, Close) and not last.clean:
                assert last == Close(1006, "the connection ended", False)
                assert side.ended
                received = received[:-1]
            sent = self.sides[self.other(role)].sent
            assert received == sent[: len(received)]

    @invariant()
    def states_agree_with_what_happened(self) -> None:
        for role, side in self.sides.items():
            told = any(isinstance(event, Close) for event in side.received)
            state = side.state
            if state is State.OPEN:
                assert side.opened
                assert not told
                assert not side.closed_itself
            elif state is State.CLOSING:
                assert side.closed_itself or (told and role is Role.CLIENT)
            elif state is State.CLOSED:
                assert told == side.opened
            else:
                assert not side.opened
            if told and role is Role.SERVER:
                assert state is State.CLOSED

    def teardown(self) -> None:
        """Everything arrives, then both streams end: both sides are closed, for good."""
        for _ in range(4):
            for role in self.sides:
                self.write(role)
                self.deliver(role, 1.0, True)
                self.pull(role)
        whole = not any(side.ended for side in self.sides.values())
        if whole and all(side.opened for side in self.sides.values()):
            for role, side in self.sides.items():
                sent = self.sides[self.other(role)].sent
                assert side.received == sent or isinstance(side.received[-1], Close)
        for role in self.sides:
            self.end_of_stream(role, True)
        self.received_is_what_was_sent()
        for role, side in self.sides.items():
            if role is Role.SERVER and side.state is State.REQUESTED:
                continue  # a request may be answered although the client's half has ended
            assert side.state is State.CLOSED
            assert any(isinstance(event, Close) for event in side.received) == side.opened
            side.connection.data_to_send()
            assert list(side.connection.receive_data(b"\x89\x00")) == []
            assert side.connection.data_to_send() == b""


TestTwoConnections = TwoConnections.TestCase
