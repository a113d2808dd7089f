"""What the browser client costs a page that loads it."""

from __future__ import annotations

import gzip

from sono_server.serving.browser_client import browser_client


def test_the_browser_client_has_less_than_8_kib_when_compressed() -> None:
    # Comments are served too: what the methods do is said in sono.d.ts.
    assert len(gzip.compress(browser_client(), 9)) < 8192
