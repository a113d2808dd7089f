"""The commands `sono connect`, `listen`, `emit` and `request`."""

import argparse
import asyncio
import contextlib
import json
import math
import os
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from sono_client.aio import AsyncSonoClient, AsyncWebSocket, connect_async
from sono_client.lossless import Received
from sono_core.errors import ConnectError, ConnectionClosed, LocalProtocolError, RequestFailed
from sono_core.limits import DEFAULT_LIMITS
from sono_core.messaging import check_name
from sono_core.messaging.classic import Incoming
from sono_core.messaging.classic import client as protocol
from sono_core.messaging.lossless import Position, stream_of
from sono_core.quoting import shown_url

from .history import since, tell_gap
from .lines import InputLines
from .streams import OutputLost, complain, printable, say

Result = TypeVar("Result")
_LAST = "nothing more"  # a question of no known kind: its answer comes after all others
_LINGER = 5.0  # seconds after the end of the input, unless `--wait` says something else
_QUIET = 1.0  # seconds without a message after which a plain server has answered
_BAD_INPUT = 1  # the exit status if a line of the input could not be sent


class Mistake(Exception):  # noqa: N818 - the user's, not the program's
    """An argument is wrong; the text is one line."""


def run(arguments: argparse.Namespace) -> int:
    """Run a command; the exit status.

    Raises:
        Mistake: an argument is wrong.
    """
    talks: dict[str, Callable[[argparse.Namespace], Coroutine[Any, Any, int]]] = {
        "connect": _connect,
        "listen": _listen,
        "emit": _emit,
        "request": _request,
    }
    try:
        return asyncio.run(talks[arguments.talk](arguments))
    except RequestFailed as error:
        complain(f"{shown_url(arguments.url)}: refused: {printable(error.text)}")
        return 1
    except (ConnectError, ConnectionClosed, OSError, asyncio.TimeoutError) as error:
        text = str(error) or "the server did not answer in time"
        if not isinstance(error, ConnectError):
            text = f"{shown_url(arguments.url)}: {text}"
        complain(text)
        return 1
    except (ValueError, TypeError, LocalProtocolError) as error:
        raise Mistake(str(error)) from None
    except RecursionError:
        raise Mistake("MESSAGE is nested too deeply") from None
    except KeyboardInterrupt:
        return 130


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    options = {
        "headers": arguments.headers,
        "timeout": arguments.timeout,
        "unix": arguments.unix,
    }
    if arguments.cafile:
        from sono_core.tls import client_context

        options["ssl"] = client_context(arguments.cafile)
    return options


def _client(arguments: argparse.Namespace) -> AsyncSonoClient:
    return AsyncSonoClient(
        arguments.url, reconnect=False, dialect=arguments.dialect, **_options(arguments)
    )


# -- emit, listen and request ----------------------------------------------------------------------


async def _emit(arguments: argparse.Namespace) -> int:
    message = json.loads(arguments.message) if arguments.json else arguments.message
    if arguments.to and arguments.others:
        raise ValueError("--to and --others exclude each other")
    # These raise before it connects if an argument is wrong.
    protocol.direct_message(message, arguments.to or "", arguments.event)
    if arguments.channel:
        protocol.change_channel(arguments.channel)
    async with _client(arguments) as client:
        if client.dialect == "v2":
            await _within(arguments.timeout, _publish(client, arguments, message))
            return 0
        events = aiter(client)
        if arguments.channel:
            await client.change_channel(arguments.channel)
        if arguments.to:
            await client.direct_message(message, arguments.to, arguments.event)
        elif arguments.others:
            await client.broadcast(message, arguments.event)
        else:
            await client.message(message, arguments.event)
        # Packets are dealt with in order: with this answer, the server has dealt with the other.
        await _within(arguments.timeout, client.grab("myid"))
        async for incoming in events:
            if incoming.event == "error":
                reason = _text(incoming.payload.get("message"))
                raise ConnectError(f"{shown_url(arguments.url)}: refused: {reason}")
            if incoming.event == "grab":
                break
    return 0


async def _publish(client: AsyncSonoClient, arguments: argparse.Namespace, message: object) -> None:
    if arguments.channel:
        await client.move(arguments.channel)
    if arguments.to:
        await client.send(arguments.to, arguments.event, message)
        return
    channel = client.channel
    assert channel is not None  # the server let it in
    await client.publish(channel, arguments.event, message, to_self=not arguments.others)


async def _request(arguments: argparse.Namespace) -> int:
    data = json.loads(arguments.data)
    check_name(arguments.name, "NAME", DEFAULT_LIMITS)
    async with _client(arguments) as client:
        reply = await client.request(arguments.name, data, timeout=arguments.timeout)
        say(json.dumps(reply))
    return 0


async def _listen(arguments: argparse.Namespace) -> int:
    if arguments.since and arguments.dialect == "classic":
        raise ValueError("--from needs the dialect v2")
    if arguments.channel:
        protocol.change_channel(arguments.channel)  # raises before it connects if it is wrong
    async with _client(arguments) as client:
        client.on_gap(tell_gap)
        await _either(_print_events(client, arguments), _output_gone())
    return 0


async def _print_events(client: AsyncSonoClient, arguments: argparse.Namespace) -> None:
    events = aiter(client)
    if arguments.channel and client.dialect == "v2":
        await _within(arguments.timeout, client.move(arguments.channel))
    elif arguments.channel:
        await client.change_channel(arguments.channel)
    left = arguments.count
    async for incoming in _all(client, arguments, events):
        if arguments.event and incoming.event not in arguments.event:
            continue
        line = {"event": incoming.event, "payload": incoming.payload}
        if isinstance(incoming, Received):
            line["stream"] = incoming.stream
            if incoming.at is not None:
                line["at"] = [incoming.at.epoch, incoming.at.offset]
        say(json.dumps(line))
        left = left and left - 1
        if left == 0:
            return


async def _all(
    client: AsyncSonoClient, arguments: argparse.Namespace, events: AsyncIterator[Incoming]
) -> AsyncIterator[Incoming]:
    """Events, and before them those of the channel's history that `--from` asks for."""
    top: Position | None = arguments.since
    stream = ""
    if top is not None:
        if client.channel is None:
            raise RequestFailed("unsupported", "the server speaks the classic dialect only")
        stream = stream_of(client.channel)
        for received in await _within(
            arguments.timeout, since(client, client.channel, arguments.since)
        ):
            assert received.at is not None
            top = received.at
            yield received
    async for incoming in events:
        if not (top and _is_before(incoming, stream, top)):  # the history had those
            yield incoming


def _is_before(incoming: Incoming, stream: str, top: Position) -> bool:
    """Whether an event of a stream stands there, or earlier."""
    if not isinstance(incoming, Received) or incoming.stream != stream or incoming.at is None:
        return False
    return incoming.at.epoch == top.epoch and incoming.at.offset <= top.offset


# -- connect --------------------------------------------------------------------------------------


async def _connect(arguments: argparse.Namespace) -> int:
    url, wait = shown_url(arguments.url), arguments.wait
    with _Terminal() as terminal:
        if arguments.raw:
            async with connect_async(arguments.url, **_options(arguments)) as socket:
                terminal.show(f"connected to {url}")
                await _either(
                    _show_messages(socket, terminal),
                    _send_lines(socket, terminal, wait),
                    _output_gone(),
                )
        else:
            async with _client(arguments) as client:
                events = aiter(client)
                [me] = await _within(arguments.timeout, client.grab("myid"))
                terminal.show(f"connected to {url} as {printable(me)}; /help helps")
                await _either(
                    _show_events(events, terminal),
                    _obey(client, terminal, wait, arguments.timeout),
                    _output_gone(),
                )
    return _BAD_INPUT if terminal.faulty else 0


async def _either(*coroutines: Awaitable[None]) -> None:
    """Wait until one is done, and raise its exception."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


async def _within(seconds: float, waiting: Awaitable[Result]) -> Result:
    """Await for so many seconds at most.

    Raises:
        asyncio.TimeoutError: that did not suffice.
    """
    # Not asyncio.wait_for: before Python 3.12 it may swallow a cancellation.
    task = asyncio.ensure_future(waiting)
    try:
        await asyncio.wait([task], timeout=seconds)
        if not task.done():
            raise asyncio.TimeoutError
        return task.result()
    finally:
        task.cancel()


async def _output_gone() -> None:
    """Wait until nobody reads the output any more, if that is a pipe.

    Raises:
        OutputLost: that is so.
    """
    gone = asyncio.Event()
    with contextlib.suppress(OSError, NotImplementedError):  # no descriptor; Windows
        output = sys.stdout.fileno()
        if stat.S_ISFIFO(os.fstat(output).st_mode):
            # Nothing can be read there, so what is reported is the end of its reader.
            asyncio.get_running_loop().add_reader(output, gone.set)
    await gone.wait()
    raise OutputLost


async def _show_messages(socket: AsyncWebSocket, terminal: "_Terminal") -> None:
    async for message in socket:
        text = message if isinstance(message, str) else f"{len(message)} bytes: {message.hex()}"
        terminal.show(f"< {printable(text)}")
        terminal.heard()


async def _send_lines(socket: AsyncWebSocket, terminal: "_Terminal", wait: float | None) -> None:
    before = -1  # messages that had come when the last line was sent
    async for line in terminal.lines():
        before = terminal.messages
        await socket.send(line)
    if wait is not None:
        await asyncio.sleep(wait)
    elif before >= 0 and not sys.stdin.isatty():
        await terminal.until_quiet(before)


async def _show_events(events: AsyncIterator[Incoming], terminal: "_Terminal") -> None:
    async for incoming in events:
        if incoming.event == "grab":  # who asked shows it
            if incoming.payload.get("type") == _LAST:
                return
            continue
        payload = incoming.payload
        content = printable(_text(payload.get("message")))
        sender = printable(_text(payload.get("from", "server")))
        if incoming.event == "error":
            terminal.show(f"refused: {content}")
        elif incoming.event == "message":
            terminal.show(f"{sender}: {content}")
        else:
            terminal.show(f"{sender} [{printable(incoming.event)}]: {content}")


async def _obey(
    client: AsyncSonoClient, terminal: "_Terminal", wait: float | None, timeout: float
) -> None:
    """Send each line of the input until its end, and wait for the answers."""
    async for line in terminal.lines():
        name, _, rest = line.partition(" ")
        command = _COMMANDS.get(name) if name.startswith("/") else _say
        if not line.strip():
            continue
        if command is None:
            terminal.show(f"{printable(name)} is no command; /help lists them")
            continue
        sending = command(client, line if command is _say else rest.strip())
        try:
            answer = await (_within(timeout, sending) if name in _ASKING else sending)
        except asyncio.TimeoutError:
            answer = "no answer came in time"
        except RequestFailed as error:
            answer = f"refused: {printable(error.text)}"
        except (ValueError, TypeError, LocalProtocolError) as error:
            answer = str(error)
        if answer:
            terminal.show(answer)
    if wait is None:
        with contextlib.suppress(asyncio.TimeoutError):
            await _within(_LINGER, client.grab(_LAST))
        wait = _LINGER  # to show first what came before; then the answer ends this
    await asyncio.sleep(wait)


async def _say(client: AsyncSonoClient, line: str) -> None:
    await client.message(line)


async def _join(client: AsyncSonoClient, rest: str) -> str | None:
    await client.change_channel(_required(rest, "/join CHANNEL"))
    [channel] = await client.grab("mychannel")
    return f"in channel {printable(channel)}"


async def _direct(client: AsyncSonoClient, rest: str) -> None:
    to, _, text = rest.partition(" ")
    await client.direct_message(_required(text, "/dm ID TEXT"), to)


async def _others(client: AsyncSonoClient, rest: str) -> None:
    await client.broadcast(_required(rest, "/others TEXT"))


async def _event(client: AsyncSonoClient, rest: str) -> None:
    name, _, text = rest.partition(" ")
    message: object = _required(text, "/emit EVENT TEXT")
    with contextlib.suppress(ValueError):
        message = json.loads(text)
    await client.message(message, name)


async def _grab(client: AsyncSonoClient, rest: str) -> str:
    names = await client.grab(_required(rest, "/grab KIND"))
    return printable(", ".join(names)) + (", and more" if names.truncated else "")


async def _ask(client: AsyncSonoClient, rest: str) -> str:
    name, _, text = _required(rest, "/request NAME DATA").partition(" ")
    data: object = text or None
    with contextlib.suppress(ValueError):
        data = json.loads(text)
    return printable(_text(await client.request(name, data)))


async def _ping(client: AsyncSonoClient, rest: str) -> str:
    return f"{1000 * await client.socket.ping():.1f} ms"


async def _help(client: AsyncSonoClient, rest: str) -> str:
    commands = "/join CHANNEL  /dm ID TEXT  /others TEXT  /emit EVENT TEXT  /grab KIND"
    return f"{commands}  /request NAME DATA  /ping"


_COMMANDS: dict[str, Callable[[AsyncSonoClient, str], Awaitable[str | None]]] = {
    "/join": _join,
    "/dm": _direct,
    "/others": _others,
    "/emit": _event,
    "/grab": _grab,
    "/request": _ask,
    "/ping": _ping,
    "/help": _help,
}
_ASKING = ("/join", "/grab", "/request", "/ping")  # these wait for an answer


def _required(text: str, usage: str) -> str:
    if not text:
        raise ValueError(usage)
    return text


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _editor() -> tuple[Any, Any]:
    """What edits lines or None, and the context in which output comes above them.

    There is no editor where nobody types, or `prompt_toolkit` is not installed. Importing it takes
    as long as all else that a command does at its start.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return None, contextlib.nullcontext()
    try:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.patch_stdout import patch_stdout
    except ImportError:
        return None, contextlib.nullcontext()
    return PromptSession("> "), patch_stdout()


class _Terminal:
    """Lines in, lines out; with editing and a history where `prompt_toolkit` is installed."""

    def __init__(self) -> None:
        self._session, self._patch = _editor()
        self._input = InputLines(sys.stdin)
        self.messages: int = 0
        """How many have come."""
        self._latest = 0.0  # when the last of them came
        self._came = asyncio.Event()

    def __enter__(self) -> "_Terminal":
        self._patch.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._patch.__exit__(*error)

    def show(self, line: str) -> None:
        """Print a line, above what is being typed."""
        say(line)

    def heard(self) -> None:
        """Note that a message has come."""
        self.messages += 1
        self._latest = asyncio.get_running_loop().time()
        self._came.set()

    async def until_quiet(self, before: int) -> None:
        """Wait until the server has answered and says nothing more, within bounds.

        Args:
            before: the messages that were no answer.
        """
        time = asyncio.get_running_loop().time
        end = time() + _LINGER
        while True:
            quiet = self._latest + _QUIET if self.messages > before else math.inf
            if (left := min(quiet, end) - time()) <= 0:
                return
            self._came.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await _within(left, self._came.wait())

    @property
    def faulty(self) -> bool:
        """Whether a line of the input could not be sent."""
        return self._input.faulty

    async def lines(self) -> AsyncIterator[str]:
        """The lines that the user types, up to Ctrl-D."""
        if self._session is None:
            async for line in self._input:
                yield line
            return
        while True:
            try:
                yield await self._session.prompt_async()
            except EOFError:
                return
