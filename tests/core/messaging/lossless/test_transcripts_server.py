"""The node passes the transcripts for servers. docs/transcripts.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from sono_server.conformance import Skipped, Transcript, load, play

pytest.importorskip("sono_core.messaging.lossless.memory")

TRANSCRIPTS = [
    transcript
    for transcript in load(Path(__file__).parents[3] / "transcripts")
    if "server" in transcript.subjects
]
HOSTS = {
    "1.4-binary-data.jsonl",
    "2.2-members-of-the-classic-dialect.jsonl",
    "2.11-memberships-that-the-server-changes.jsonl",
}
"""Those that need what only whoever has the connections knows."""


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda transcript: transcript.name)
def test_the_node_passes(transcript: Transcript) -> None:
    from tests.core.messaging.lossless.transcript_server import NodeServer

    if transcript.name in HOSTS:
        with pytest.raises(Skipped):
            play(transcript, NodeServer())
    else:
        play(transcript, NodeServer())
