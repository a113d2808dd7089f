"""The chat page of `sono serve`, and its one security policy."""

from pathlib import Path

from sono_server.app import Sono
from sono_server.serving import (
    HEALTHY,
    NOT_READY,
    READABLE,
    HTTPRequest,
    browser_client,
    static_answer,
)

_STATIC = Path(__file__).parent / "static"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
_PAGES = {
    "/": "index.html",
    "/demo.js": "demo.js",
    "/people.js": "people.js",
    "/demo.css": "demo.css",
}


def handle(sono: Sono, request: HTTPRequest) -> None:
    """Answer a request: the page, its parts, the browser client, or a WebSocket at /ws."""
    if request.method == "OPTIONS":
        request.respond(204, headers=READABLE)
    elif request.path == "/ws":
        sono.connect(request)
    elif request.path == "/healthz":
        request.respond(*HEALTHY)
    elif request.path == "/readyz":
        request.respond(*(HEALTHY if sono.ready else NOT_READY))
    elif request.path != "/sono.js" and request.path not in _PAGES:
        request.respond(404, "not found\n")
    elif request.path == "/sono.js":
        _respond(request, browser_client(), ".js")
    else:
        page = _STATIC / _PAGES[request.path]
        _respond(request, page.read_bytes(), page.suffix)


def _respond(request: HTTPRequest, body: bytes, suffix: str) -> None:
    answer = static_answer(request.method, request.headers, body, _headers(suffix))
    request.respond(answer.status, answer.body, answer.headers)


def _headers(suffix: str) -> dict[str, str]:
    return {
        "content-type": f"{_TYPES[suffix]}; charset=utf-8",
        "content-security-policy": _POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }
