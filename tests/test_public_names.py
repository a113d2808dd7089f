"""The public names of each package."""

import importlib

import pytest

NAMES = {
    "sono_core": """
        LEGAL Accept BinaryMessage Close CloseCode Connection Deadlines Deflate Event Handler
        Headers Limits LocalProtocolError Ping Pong Prepared Reject Request Role Session
        SharedDeflaters SonoError State TextMessage Timeouts Transport native_available
    """,
    "sono_server": """
        AsyncPublisher AsyncServer Channel Client HTTPRequest History HistoryEntry HistoryPage
        Presence Promise Publisher Refused RemoteClient RequestFailed Server Sono WebSocket serve
        serve_async
    """,
    "sono_client": """
        About AsyncJoinedChannel AsyncSonoClient AsyncWebSocket ClientLimits ClientSession
        ClientStatus ConnectError ConnectionClosed Gap History HistoryEntry JoinedChannel OutboxFull
        Position PresenceChanged Received RequestFailed SonoClient WebSocket connect connect_async
    """,
}


@pytest.mark.parametrize("package", NAMES)
def test_the_public_names_are_these(package: str) -> None:
    module = importlib.import_module(package)
    assert sorted(module.__all__) == sorted(NAMES[package].split())
    for name in module.__all__:
        assert getattr(module, name) is not None


@pytest.mark.parametrize("package", NAMES)
def test_a_star_import_brings_the_public_names_alone(package: str) -> None:
    names: dict[str, object] = {}
    exec(f"from {package} import *", names)
    assert set(names) - {"__builtins__"} == set(NAMES[package].split())
