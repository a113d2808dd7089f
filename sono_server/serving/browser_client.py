"""The browser client, `sono.js`, as servers hand it out."""

from pathlib import Path

JAVASCRIPT = {
    "content-type": "text/javascript; charset=utf-8",
    "cache-control": "no-cache",
    "x-content-type-options": "nosniff",
}


def browser_client() -> bytes:
    """The browser client's source."""
    import sono_client

    return (Path(sono_client.__file__).parent / "browser" / "sono.js").read_bytes()
