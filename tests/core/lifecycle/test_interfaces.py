"""A handler that is derived from `BaseHandler` defines only the methods that it uses."""

from __future__ import annotations

import pytest

from sono_core import Accept, Close, Handler, Request
from sono_core.lifecycle.interfaces import BaseHandler


def test_it_is_a_handler_that_does_nothing() -> None:
    handler: Handler = BaseHandler()
    handler.on_request(Request("/"))
    handler.on_response(Accept())
    assert handler.on_message("x") is None
    handler.on_pong(b"")
    handler.on_close(Close())


def test_no_error_stays_unheard() -> None:
    with pytest.raises(NotImplementedError):
        BaseHandler().on_error(ValueError())
