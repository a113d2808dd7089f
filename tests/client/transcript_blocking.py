"""The blocking client as transcripts test it: a thread runs it, and others say something."""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from sono_client import ConnectError, ConnectionClosed, JoinedChannel, RequestFailed, SonoClient
from sono_core.connect import Backoff, Reconnection
from sono_core.messaging.classic import Incoming
from tests.client.transcript_client import SocketClient, arguments_of
from tests.client.transcript_wire import PATIENCE

_POLL = 0.002  # seconds: how long a socket is looked at, between two looks at the clock


class DrivenClient(SonoClient):
    """A client whose time is its player's."""

    def __init__(self, player: BlockingPlayer) -> None:
        self.player = player
        self.said = threading.Event()
        token = None if player.tokens is None else player.token
        super().__init__(player.listener.url, token=token, proxy=None)

    def _begin(self) -> None:
        player = self.player
        player.client = self
        self._time = player.clock.time
        self._pause = self._pause_in_fake_time  # type: ignore[assignment]
        backoff = Backoff(random=lambda: player.random)
        self._reconnection = Reconnection(backoff, renews=player.tokens is not None)
        self._real_connect = self._connect
        self._connect = self._counted(lambda: self._real_connect())  # type: ignore[assignment]
        classic = self._connect_classic
        self._connect_classic = self._counted(classic)  # type: ignore[assignment]
        self.on_status(player.tell_status)
        self.on_session(player.tell_session)
        self.on_gap(player.tell_gap)
        self.on_join(lambda room: player.tell("joined", {"channel": room.name, "current": False}))
        for name in player.asked:
            self.on_request(name)(player.handler(name))
        super()._begin()

    def _counted(self, connect: Callable[[], Any]) -> Callable[[], Any]:
        def counted() -> Any:
            self.player.attempts += 1
            self.player.connecting = True
            try:
                socket = connect()
            finally:
                self.player.connecting = False
            socket.recv = self._receiving(socket.recv)
            return socket

        return counted

    def _receiving(self, recv: Callable[[float], Any]) -> Callable[[float], Any]:
        player = self.player

        def receive(timeout: float) -> Any:
            end = self._time() + timeout
            while True:
                version = player.version
                try:
                    return recv(_POLL)
                except TimeoutError:
                    if self._time() >= end:
                        raise
                    player.idle(version)

        return receive

    def _pause_in_fake_time(self, timeout: float) -> bool:
        end = self._time() + timeout
        while self._time() < end and not self._closing.is_set():
            self.player.idle(self.player.version)
            time.sleep(_POLL)
        return self._closing.is_set()

    def _hand_out(self, incoming: Incoming) -> None:
        self._jobs.append(lambda: self.player.tell_event(incoming))  # in order with gaps
        super()._hand_out(incoming)

    def _channel(self, name: str) -> JoinedChannel:
        room = super()._channel(name)
        room.on_leave(lambda code: self.player.tell("left", {"channel": name, "code": code}))
        room.on_presence(lambda change: self.player.tell_presence(change, self.presence(name)))
        return room

    def _say(self, say: Any) -> Any:
        try:
            return super()._say(say)
        finally:
            self.said.set()


class BlockingPlayer(SocketClient):
    """Args:
    random: as for `SocketClient`.
    asked: the names of the server's requests.
    """

    client: DrivenClient

    def __init__(self, random: float, asked: list[str]) -> None:
        super().__init__(random)
        self.asked = asked
        self.version = 0
        """Of the clock."""
        self._idle: tuple[int, int] = (0, 0)  # of which version, and how often it was seen
        self._over = threading.Event()
        self._open = threading.Event()
        self._threads: list[threading.Thread] = []
        self._calls: queue.Queue[Callable[[], None]] = queue.Queue()
        self._replies: dict[int, dict[str, Any] | None] = {}

    # -- the client's own thread ------------------------------------------------------------------

    def begin(self) -> None:
        self._start(self._live)
        self._start(self._call_in_order)

    def _start(self, function: Callable[[], None]) -> None:
        thread = threading.Thread(target=function, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _live(self) -> None:
        with contextlib.suppress(ConnectionClosed, ConnectError):
            client = DrivenClient(self)
            self._open.set()
            client.run()
        self._over.set()

    def idle(self, version: int) -> None:
        """The client has nothing to do, at that version of the clock."""
        last, often = self._idle
        self._idle = version, often + 1 if last == version else 1

    def settle(self) -> None:
        self._idle = (-1, 0)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            version, often = self._idle
            if self._over.is_set() or self.connecting or (version == self.version and often >= 2):
                return
            time.sleep(0.0005)
        raise AssertionError("the client does not come to rest")

    def due(self) -> float:
        client = getattr(self, "client", None)
        if client is None or self._over.is_set() or self.connecting:
            return math.inf
        due = client._due if client._end and client._due is not None else math.inf
        return min(due, client._next_due())

    def jump(self, now: float) -> None:
        self.clock.now = now
        self.version += 1

    # -- what is said -----------------------------------------------------------------------------

    def call(self, word: str, name: str | None, given: dict[str, Any]) -> None:
        if word == "reply":
            self._replies[given["to"]] = given
            return
        called = threading.Event()
        self._calls.put(lambda: self._say(word, name, given, called))
        if self._open.is_set():
            called.wait(PATIENCE)

    def _call_in_order(self) -> None:
        """A program can say nothing before its client is connected."""
        self._open.wait(PATIENCE)
        while not self._over.is_set():
            with contextlib.suppress(queue.Empty):
                self._calls.get(timeout=0.05)()

    def _say(
        self, word: str, name: str | None, given: dict[str, Any], called: threading.Event
    ) -> None:
        client = self.client
        client.said.clear()

        def run() -> None:
            try:
                if word == "close":
                    client.said.set()
                    client.close()
                    return
                positional, named = arguments_of(word, given)
                outcome = getattr(client, word)(*positional, **named)
            except RequestFailed as error:
                self.tell_outcome(name, error)
            except ConnectionClosed:
                pass
            else:
                told = None if isinstance(outcome, JoinedChannel) else outcome
                self.tell_outcome(name, told)
            finally:
                client.said.set()

        self._start(run)
        client.said.wait(PATIENCE)
        called.set()

    def handler(self, name: str) -> Callable[[Any], Any]:
        """Answers with what the transcript says, and runs the client until then."""

        def answer(data: Any) -> Any:
            ref = len(self._replies)
            self._replies[ref] = None
            self.tell("request", {"name": name, "data": data, "ref": ref})
            while (given := self._replies[ref]) is None and not self._over.is_set():
                self.client.run(0)
                self.idle(self.version)
                time.sleep(_POLL)
            if given and "error" in given:
                error = given["error"]
                temporary = error.get("temporary", False)
                raise RequestFailed(error["code"], error["message"], temporary)
            return (given or {}).get("data")

        return answer

    def end(self) -> None:
        self.hang_up()
        if "client" in self.__dict__:
            client = self.client
            client._closing.set()
            if "socket" in client.__dict__:
                client.socket.cut_off()
            if client._talk:
                client._end_talk(client._talk)
            client._leader.notify()
        self._over.wait(PATIENCE)
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
