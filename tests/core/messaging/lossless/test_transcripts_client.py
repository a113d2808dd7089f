"""The client's machine passes the transcripts for clients. docs/transcripts.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from sono_server.conformance import Skipped, Transcript, load, play

pytest.importorskip("sono_core.messaging.lossless.client")

TRANSCRIPTS = [
    transcript
    for transcript in load(Path(__file__).parents[3] / "transcripts")
    if "client" in transcript.subjects
]
DRIVERS = "5.18-back-to-the-classic-dialect.jsonl"


@pytest.mark.parametrize("random", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda transcript: transcript.name)
def test_the_machine_passes(transcript: Transcript, random: float) -> None:
    from tests.core.messaging.lossless.transcript_client import MachineClient

    if transcript.name == DRIVERS:
        with pytest.raises(Skipped):
            play(transcript, MachineClient(random))
    else:
        play(transcript, MachineClient(random))
