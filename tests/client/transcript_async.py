"""The asyncio client as transcripts test it: on a loop in another thread."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import math
import threading
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

from sono_client import (
    AsyncJoinedChannel,
    AsyncSonoClient,
    ConnectError,
    ConnectionClosed,
    RequestFailed,
)
from sono_core.connect import Backoff, Reconnection
from sono_core.messaging.classic import Incoming
from tests.async_peers import eventually, turns
from tests.client.transcript_client import SocketClient, arguments_of
from tests.client.transcript_wire import PATIENCE


class Timer:
    """Something that is due on the player's clock."""

    def __init__(self, function: Callable[[], None]) -> None:
        self.function: Callable[[], None] | None = function

    def cancel(self) -> None:
        self.function = None


class DrivenClient(AsyncSonoClient):
    """A client whose time is its player's."""

    def __init__(self, player: AsyncPlayer) -> None:
        self.player = player
        token = None if player.tokens is None else self.ask
        super().__init__(player.listener.url, token=token, proxy=None)
        self._time = player.clock.time
        self._sleep = self._sleep_in_fake_time
        self._later = player.later  # type: ignore[method-assign, assignment]
        backoff = Backoff(random=lambda: player.random)
        self._reconnection = Reconnection(backoff, renews=player.tokens is not None)
        self._connect = self._counted(self._connect)  # type: ignore[assignment]
        self._connect_classic = self._counted(self._connect_classic)  # type: ignore[assignment]
        self.on_status(player.tell_status)
        self.on_session(player.tell_session)
        self.on_gap(player.tell_gap)
        self.on_join(lambda room: player.tell("joined", {"channel": room.name, "current": False}))
        for name in player.asked:
            self.on_request(name)(player.handler(name))

    async def ask(self) -> str:
        await asyncio.sleep(0)
        return self.player.token()

    async def _sleep_in_fake_time(self, delay: float) -> None:
        done = asyncio.get_running_loop().create_future()
        self.player.later(delay, lambda: done.done() or done.set_result(None))
        await done

    def _counted(self, connect: Callable[[], Any]) -> Callable[[], Coroutine[Any, Any, Any]]:
        async def counted() -> Any:
            self.player.attempts += 1
            self.player.connecting = True
            try:
                return await connect()
            finally:
                self.player.connecting = False

        return counted

    def _hand_out(self, incoming: Incoming) -> None:
        self._callbacks.add(lambda: self.player.tell_event(incoming))  # in order with gaps
        super()._hand_out(incoming)

    def _channel(self, name: str) -> AsyncJoinedChannel:
        room = super()._channel(name)
        room.on_leave(lambda code: self.player.tell("left", {"channel": name, "code": code}))
        room.on_presence(lambda change: self.player.tell_presence(change, self.presence(name)))
        return room


class AsyncPlayer(SocketClient):
    """Args:
    random: as for `SocketClient`.
    asked: the names of the server's requests.
    new_loop: makes the client's loop.
    """

    client: DrivenClient

    def __init__(
        self,
        random: float,
        asked: list[str],
        new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    ) -> None:
        super().__init__(random)
        self.asked = asked
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = count()
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._tasks: list[asyncio.Future[Any]] = []
        self._loop = new_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def begin(self) -> None:
        self._run(self._begin())

    async def _begin(self) -> None:
        self.client = DrivenClient(self)
        self._tasks.append(asyncio.ensure_future(self._live()))
        await eventually(lambda: self.connecting)

    async def _live(self) -> None:
        with contextlib.suppress(ConnectionClosed, ConnectError):
            await self.client.__aenter__()
            await self.client.run()

    def settle(self) -> None:
        self._run(turns(30))

    def due(self) -> float:
        while self._timers and self._timers[0][2].function is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else math.inf

    def later(self, delay: float, function: Callable[[], Any]) -> Timer:
        """Call a function on the player's clock."""
        timer = Timer(function)
        heapq.heappush(self._timers, (self.clock.now + delay, next(self._numbers), timer))
        return timer

    def jump(self, now: float) -> None:
        self._run(self._jump(now))

    async def _jump(self, now: float) -> None:
        self.clock.now = now
        while self.due() <= now:
            _, _, timer = heapq.heappop(self._timers)
            assert timer.function
            timer.function()

    # -- what is said -----------------------------------------------------------------------------

    def call(self, word: str, name: str | None, given: dict[str, Any]) -> None:
        self._run(self._call(word, name, given))

    async def _call(self, word: str, name: str | None, given: dict[str, Any]) -> None:
        if word == "reply":
            self._replies[given["to"]].set_result(given)
            return
        self._tasks.append(asyncio.ensure_future(self._say(word, name, given)))
        await turns(3)

    async def _say(self, word: str, name: str | None, given: dict[str, Any]) -> None:
        if word == "close":
            await self.client.close()
            return
        positional, named = arguments_of(word, given)
        try:
            outcome = await getattr(self.client, word)(*positional, **named)
        except RequestFailed as error:
            self.tell_outcome(name, error)
        except ConnectionClosed:
            pass
        else:
            told = None if isinstance(outcome, AsyncJoinedChannel) else outcome
            self.tell_outcome(name, told)

    def handler(self, name: str) -> Callable[[Any], Any]:
        """Answers with what the transcript says."""

        async def answer(data: Any) -> Any:
            ref = len(self._replies)
            self._replies[ref] = asyncio.get_running_loop().create_future()
            self.tell("request", {"name": name, "data": data, "ref": ref})
            given = await self._replies[ref]
            if "error" in given:
                error = given["error"]
                temporary = error.get("temporary", False)
                raise RequestFailed(error["code"], error["message"], temporary)
            return given.get("data")

        return answer

    def end(self) -> None:
        self.hang_up()
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    async def _end(self) -> None:
        if "client" in self.__dict__:
            self.client._give_up()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
