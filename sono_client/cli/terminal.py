"""The commands `sono connect`, `listen` and `emit`."""

import argparse
import asyncio
import contextlib
import json
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TextIO

from sono_client.aio import AsyncSonoClient, AsyncWebSocket, connect_async
from sono_core.errors import ConnectError, ConnectionClosed, LocalProtocolError
from sono_core.messaging.classic import Incoming
from sono_core.messaging.classic import client as protocol

try:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.patch_stdout import patch_stdout
except ImportError:
    PromptSession = None  # type: ignore[assignment, misc]


_LAST = "nothing more"  # a question of no known kind: its answer comes after all others
_LINGER = 5.0  # seconds; the answer ends it


class Mistake(Exception):  # noqa: N818 - the user's, not the program's
    """An argument is wrong; the text is one line."""


def run(arguments: argparse.Namespace) -> int:
    """Run a command; the exit status.

    Raises:
        Mistake: an argument is wrong.
    """
    talk = {"connect": _connect, "listen": _listen, "emit": _emit}[arguments.talk]
    try:
        asyncio.run(talk(arguments))
    except (ConnectError, ConnectionClosed, OSError, asyncio.TimeoutError) as error:
        text = str(error) or "timed out"
        if isinstance(error, ConnectionClosed):
            text = f"{arguments.url}: {text}"
        print(f"sono: {text}", file=sys.stderr)
        return 1
    except (ValueError, TypeError, LocalProtocolError) as error:
        raise Mistake(str(error)) from None
    except KeyboardInterrupt:
        return 130
    return 0


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
    return AsyncSonoClient(arguments.url, reconnect=False, **_options(arguments))


# -- emit and listen ------------------------------------------------------------------------------


async def _emit(arguments: argparse.Namespace) -> None:
    message = json.loads(arguments.message) if arguments.json else arguments.message
    if arguments.to and arguments.others:
        raise ValueError("--to and --others exclude each other")
    protocol.message(message, arguments.event)  # raises before it connects if an argument is wrong
    async with _client(arguments) as client:
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
        await asyncio.wait_for(client.grab("myid"), arguments.timeout)
        async for incoming in events:
            if incoming.event == "error":
                reason = _printable(_text(incoming.payload.get("message")))
                raise ConnectError(f"{arguments.url}: refused: {reason}")
            if incoming.event == "grab":
                return


async def _listen(arguments: argparse.Namespace) -> None:
    async with _client(arguments) as client:
        events = aiter(client)
        if arguments.channel:
            await client.change_channel(arguments.channel)
        left = arguments.count
        async for incoming in events:
            if arguments.event and incoming.event not in arguments.event:
                continue
            print(json.dumps({"event": incoming.event, "payload": incoming.payload}), flush=True)
            left = left and left - 1
            if left == 0:
                return


# -- connect --------------------------------------------------------------------------------------


async def _connect(arguments: argparse.Namespace) -> None:
    with _Terminal() as terminal:
        if arguments.raw:
            async with connect_async(arguments.url, **_options(arguments)) as socket:
                terminal.show(f"connected to {arguments.url}")
                await _either(_show_messages(socket, terminal), _send_lines(socket, terminal))
        else:
            async with _client(arguments) as client:
                events = aiter(client)
                [me] = await asyncio.wait_for(client.grab("myid"), arguments.timeout)
                terminal.show(f"connected to {arguments.url} as {_printable(me)}; /help helps")
                await _either(_show_events(events, terminal), _obey(client, terminal))


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


async def _show_messages(socket: AsyncWebSocket, terminal: "_Terminal") -> None:
    async for message in socket:
        text = message if isinstance(message, str) else f"{len(message)} bytes: {message.hex()}"
        terminal.show(f"< {_printable(text)}")


async def _send_lines(socket: AsyncWebSocket, terminal: "_Terminal") -> None:
    async for line in terminal.lines():
        await socket.send(line)


async def _show_events(events: AsyncIterator[Incoming], terminal: "_Terminal") -> None:
    async for incoming in events:
        if incoming.event == "grab":  # who asked shows it
            if incoming.payload.get("type") == _LAST:
                return
            continue
        payload = incoming.payload
        content = _printable(_text(payload.get("message")))
        sender = _printable(_text(payload.get("from", "server")))
        if incoming.event == "error":
            terminal.show(f"refused: {content}")
        elif incoming.event == "message":
            terminal.show(f"{sender}: {content}")
        else:
            terminal.show(f"{sender} [{_printable(incoming.event)}]: {content}")


async def _obey(client: AsyncSonoClient, terminal: "_Terminal") -> None:
    """Send each line of the input until its end."""
    async for line in terminal.lines():
        name, _, rest = line.partition(" ")
        command = _COMMANDS.get(name) if name.startswith("/") else _say
        if not line.strip():
            continue
        if command is None:
            terminal.show(f"{name} is no command; /help lists them")
            continue
        try:
            answer = await command(client, line if command is _say else rest.strip())
        except (ValueError, TypeError, LocalProtocolError) as error:
            answer = str(error)
        if answer:
            terminal.show(answer)
    await client.grab(_LAST)
    await asyncio.sleep(_LINGER)  # show first what the server has answered


async def _say(client: AsyncSonoClient, line: str) -> None:
    await client.message(line)


async def _join(client: AsyncSonoClient, rest: str) -> str | None:
    await client.change_channel(_required(rest, "/join CHANNEL"))
    [channel] = await client.grab("mychannel")
    return f"in channel {_printable(channel)}"


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
    return _printable(", ".join(await client.grab(_required(rest, "/grab KIND"))))


async def _ping(client: AsyncSonoClient, rest: str) -> str:
    return f"{1000 * await client.socket.ping():.1f} ms"


async def _help(client: AsyncSonoClient, rest: str) -> str:
    return "/join CHANNEL  /dm ID TEXT  /others TEXT  /emit EVENT TEXT  /grab KIND  /ping"


_COMMANDS: dict[str, Callable[[AsyncSonoClient, str], Awaitable[str | None]]] = {
    "/join": _join,
    "/dm": _direct,
    "/others": _others,
    "/emit": _event,
    "/grab": _grab,
    "/ping": _ping,
    "/help": _help,
}


def _required(text: str, usage: str) -> str:
    if not text:
        raise ValueError(usage)
    return text


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _printable(text: str) -> str:
    """A peer's text without characters that control the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _Terminal:
    """Lines in, lines out; with editing and a history where `prompt_toolkit` is installed."""

    def __init__(self) -> None:
        self._edits = PromptSession is not None and sys.stdin.isatty() and sys.stdout.isatty()
        self._patch: Any = patch_stdout() if self._edits else contextlib.nullcontext()

    def __enter__(self) -> "_Terminal":
        self._patch.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._patch.__exit__(*error)

    def show(self, line: str) -> None:
        """Print a line, above what is being typed."""
        print(line, flush=True)

    async def lines(self) -> AsyncIterator[str]:
        """The lines that the user types, up to Ctrl-D."""
        if not self._edits:
            async for line in _piped(sys.stdin):
                yield line
            return
        session: PromptSession[str] = PromptSession("> ")
        while True:
            try:
                yield await session.prompt_async()
            except EOFError:
                return


async def _piped(stream: TextIO) -> AsyncIterator[str]:
    """The lines of a stream, read in a thread that may be left waiting."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str] = asyncio.Queue()

    def read() -> None:
        with contextlib.suppress(RuntimeError, ValueError):  # the loop, or the stream, is closed
            for line in stream:
                loop.call_soon_threadsafe(queue.put_nowait, line)
            loop.call_soon_threadsafe(queue.put_nowait, "")

    threading.Thread(target=read, daemon=True).start()
    while line := await queue.get():
        yield line.rstrip("\n")
