"""The part of HTTP/1.1 that an opening handshake needs: strict heads, and answers to them."""

from .encode import check_reject, checked_fields, encode_head, refusal, reject_response
from .grammar import Extension, is_host, is_token, parse_extensions, parse_list, parse_tokens
from .head import HeadReader, parse_request, text_fields
from .responses import (
    REDIRECTS,
    FinalHeadReader,
    UpgradeResponseReader,
    connect_response_reader,
)

__all__ = [
    "REDIRECTS",
    "Extension",
    "FinalHeadReader",
    "HeadReader",
    "UpgradeResponseReader",
    "check_reject",
    "checked_fields",
    "connect_response_reader",
    "encode_head",
    "is_host",
    "is_token",
    "parse_extensions",
    "parse_list",
    "parse_request",
    "parse_tokens",
    "refusal",
    "reject_response",
    "text_fields",
]
