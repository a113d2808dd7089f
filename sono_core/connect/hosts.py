"""The host of a URL, as browsers read it. WHATWG URL Standard, section 3; UTS 46; RFC 5952.

Each host has one spelling, so that names are compared, looked up and verified alike.
"""

import ipaddress
import re
import unicodedata

from sono_core.http import is_host

_MAX_NAME = 253  # characters of a name without its final dot (RFC 1035, section 2.3.4)
_MAX_LABEL = 63
_is_number = re.compile(r"[0-9]+|0x[0-9a-f]*").fullmatch
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_JOINERS = "\u200c\u200d"


def parse_host(text: str) -> str:
    """The ASCII form of a host: a name, perhaps with its final dot, or an address.

    Names are mapped by UTS 46, non-transitionally, as browsers do; `0x7f.1` is 127.0.0.1.

    Args:
        text: from a URL, with the brackets of an IPv6 address, which are not returned.

    Raises:
        ValueError: it is none. An address with a zone is none either.
    """
    if text.startswith("["):
        return _ipv6(text[1:-1])
    if len(text) > 4 * _MAX_NAME:  # before anything takes long
        raise ValueError("too long")
    if "%" in text:
        text = _decoded(text)
    host = text.lower()
    if not host.isascii() or "xn--" in host:
        host = _ascii(text)
    labels = host.removesuffix(".").split(".")
    if len(host.removesuffix(".")) > _MAX_NAME or not is_host(host) or ":" in host or "%" in host:
        raise ValueError("not a name")
    if not all(0 < len(label) <= _MAX_LABEL for label in labels):
        raise ValueError("an empty label, or too long a one")
    return _ipv4(labels) if _is_number(labels[-1]) else host


def _decoded(text: str) -> str:
    data = re.sub(
        rb"%([0-9A-Fa-f]{2})", lambda match: bytes.fromhex(match[1].decode()), text.encode()
    )
    return data.decode()


def _ipv6(text: str) -> str:
    if "%" in text:
        raise ValueError("a zone")
    address = ipaddress.IPv6Address(text)
    if address.ipv4_mapped:  # which Python shows in two ways, depending on its version
        return f"::ffff:{int(address) >> 16 & 0xFFFF:x}:{int(address) & 0xFFFF:x}"
    return str(address)


def _ipv4(parts: list[str]) -> str:
    """An address of one to four numbers, of which the last one fills the rest."""
    *first, last = map(_number, parts)
    left = 4 - len(first)  # bytes for the last one
    if left < 1 or max(first, default=0) > 255 or last >= 256**left:
        raise ValueError("not an address")
    return ".".join(map(str, [*first, *last.to_bytes(left, "big")]))


def _number(text: str) -> int:
    if not _is_number(text):
        raise ValueError("not a number")
    if text.startswith("0x"):
        return int(text[2:] or "0", 16)
    if len(text) > 1 and text.startswith("0"):
        return int(text, 8)
    return int(text)


def _ascii(name: str) -> str:
    """Map a name, and encode its labels (UTS 46, section 4.2).

    The package `idna` has the tables. Its own `encode` refuses what IDNA 2008 does not know, emoji
    and underscores for instance, which browsers and resolvers do.
    """
    import idna  # its tables are large, and most names are ASCII

    labels = [_unicode(label) for label in idna.uts46_remap(name, std3_rules=False).split(".")]
    if any(unicodedata.bidirectional(char) in ("R", "AL", "AN") for char in "".join(labels)):
        for label in filter(None, labels):
            idna.check_bidi(label, check_ltr=True)
    return ".".join(
        label if label.isascii() else f"xn--{label.encode('punycode').decode()}" for label in labels
    )


def _unicode(label: str) -> str:
    """A label that is valid (UTS 46, section 4.1), decoded."""
    import idna

    if label.startswith("xn--"):
        text = label[4:].encode("ascii").decode("punycode")
        again = idna.uts46_remap(text, std3_rules=False)
        if (
            text.isascii()
            or "." in text
            or text != again
            or text.encode("punycode").decode() != label[4:]
        ):
            raise ValueError("not the Punycode of a label")
        label = text
    if label and not label.isascii():
        idna.check_initial_combiner(label)
        if not all(idna.valid_contextj(label, n) for n, c in enumerate(label) if c in _JOINERS):
            raise ValueError("a joiner that joins nothing")
    return label
