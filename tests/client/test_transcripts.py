"""Both clients pass the transcripts for clients, on real sockets. docs/transcripts.md."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sono_server.conformance import Transcript, load, play
from tests.async_peers import new_loop
from tests.client.transcript_async import AsyncPlayer
from tests.client.transcript_blocking import BlockingPlayer
from tests.client.transcript_client import SocketClient

TRANSCRIPTS = [
    transcript
    for transcript in load(Path(__file__).parents[1] / "transcripts")
    if "client" in transcript.subjects
]
Player = Callable[[float, list[str]], SocketClient]
PLAYERS: dict[str, Player] = {
    "blocking": BlockingPlayer,
    "asyncio": AsyncPlayer,
    "uvloop": lambda random, asked: AsyncPlayer(random, asked, lambda: new_loop("uvloop")),
}


def asked_in(transcript: Transcript) -> list[str]:
    """The names of the server's requests."""
    names = []
    for step in transcript.steps():
        said = step.fields.get("server", [])
        for packet in said if isinstance(said, list) else [said]:
            if packet.get("type") == "request" and step.kind == "server":
                names.append(packet["name"])
    return names


@pytest.mark.parametrize(
    "player",
    [pytest.param(each, marks=[pytest.mark.slow] * (each != "asyncio")) for each in PLAYERS],
)
@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda transcript: transcript.name)
def test_both_clients_pass(transcript: Transcript, player: str) -> None:
    if player == "uvloop":
        new_loop("uvloop").close()
    subject = PLAYERS[player](0.5, asked_in(transcript))
    try:
        play(transcript, subject)
    finally:
        subject.end()
