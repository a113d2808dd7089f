"""An application as its author writes it, for type checkers.

`make lint` reads it as strictly as Sono itself; `tests/server/test_typed_application.py` runs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import msgspec

from sono_core.messaging.lossless import Position
from sono_server import Channel, Client, Promise, RequestFailed, Sono

if TYPE_CHECKING:
    from typing_extensions import assert_type


@dataclass
class Profile:
    """The application's own state of a client."""

    karma: int = 0


class Chat(msgspec.Struct):
    text: Annotated[str, msgspec.Meta(max_length=500)]


class Query(TypedDict):
    words: str


sono = Sono()


@sono.on_connect
def welcome(client: Client[Profile]) -> None:
    client.data = Profile()


@sono.on("chat")
def chat(client: Client[Profile], message: Chat) -> None:
    client.data.karma += len(message.text)


@sono.on("later")
async def later(client: Client, message: Chat) -> bool:
    return bool(message.text)


@sono.on_request("karma")
def karma(client: Client[Profile], data: None) -> int:
    return client.data.karma


@sono.on_request("search")
async def search(client: Client[Profile], query: Query) -> list[str]:
    return query["words"].split()


@sono.on_request("refuse")
def refuse(client: Client[Profile], data: Any) -> None:
    raise RequestFailed("full", "nobody else fits in", temporary=True)


@sono.on_join
def anywhere(client: Client[Profile], channel: str) -> bool:
    return True


@sono.on_join("room:*")
async def may_enter(client: Client[Profile], channel: str) -> bool:
    return client.data.karma >= 0


@sono.on_publish("room:*")
def may_say(client: Client[Profile], channel: str, event: str, message: Any) -> Promise[bool]:
    decided: Promise[bool] = Promise()
    decided.complete(True)
    return decided


@sono.on_leave()
def left(client: Client[Profile], channel: str) -> None:
    client.data.karma -= 1


@sono.on_suspend
async def suspended(client: Client[Profile]) -> None:
    pass


if TYPE_CHECKING:

    def _types(client: Client[Profile], anybody: Client, channel: Channel) -> None:
        """What type checkers make of it."""
        assert_type(client.data, Profile)
        assert_type(anybody.data, Any)
        assert_type(karma(client, None), int)
        assert_type(anywhere(client, "a"), bool)
        assert_type(may_say(client, "a", "b", 1), Promise[bool])
        assert_type(channel.publish("e", Chat("x")), Promise[Position])
        assert_type(client.request("confirm"), Promise[Any])
        assert_type(client.reauthorise(), Promise[list[str]])
        client.data = 7  # type: ignore[assignment]
        sono.on_join(7)  # type: ignore[call-overload]
        karma(client, "x")  # type: ignore[arg-type]

    async def _awaited(client: Client[Profile], channel: Channel) -> None:
        assert_type(await channel.publish("e", 1), Position)
        assert_type(await search(client, {"words": "x"}), list[str])
        assert_type(await later(client, Chat("x")), bool)
        page = await channel.history(limit=10)
        assert_type(page.entries[0].at, Position)
        assert_type((await channel.presence()).members, dict[str, Any])
