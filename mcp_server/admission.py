"""Who may call an HTTP server of ours: the rules for Host, Origin and API key, shared by the doors and by MCP.

A loopback server is within reach of every web page: one that came by DNS rebinding has a foreign Host, one that posts
across has a foreign Origin. Pure functions of header values; what a refusal looks like is the caller's.
"""

import hmac
from collections.abc import Iterable, Mapping
from urllib.parse import SplitResult, urlsplit

LOOPBACK = ("127.0.0.1", "localhost", "::1")
ANY_PORT = ":*"  # ends an entry of a list that stands for every port, and for none


def is_known_host(host: str, allowed: Iterable[str]) -> bool:
    """Whether the Host header *host* names loopback or one of *allowed*: `name`, `name:*`, or `name:port` exactly."""
    parts = _split(f"//{host}")
    name = (parts.hostname or "") if parts.netloc == host and parts.username is None else ""
    names = {entry.lower().removesuffix(ANY_PORT).strip("[]") for entry in allowed}
    return name in LOOPBACK or name in names or host.lower() in names


def is_known_origin(origin: str, host: str, allowed: Iterable[str]) -> bool:
    """Whether a page of *origin* may call the server that it knows as *host*: its own pages, and those of *allowed*."""
    parts = _split(origin)
    any_port = f"{parts.scheme}://{_without_port(parts.netloc)}{ANY_PORT}"
    return parts.netloc == host or not {"*", origin, any_port}.isdisjoint(allowed)


def given_key(headers: Mapping[str, str]) -> str:
    """Return the key that the caller sent, in `Authorization: Bearer` or `X-Api-Key`; empty when none."""
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    return bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def is_key(given: str, key: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(given.encode(), key.encode())


def check_key(key: str, name: str = "CINQUE_API_KEY") -> None:
    """Refuse a key, of the setting *name*, that no client could send.

    Raises:
        ValueError: without the key itself, as the message is logged.
    """
    if not (key.isascii() and key.isprintable() and key == key.strip()):
        msg = f"{name} cannot be sent in a header; use printable ASCII characters, without spaces at the ends"
        raise ValueError(msg)


def _split(url: str) -> SplitResult:
    """Split *url*; one that is none, as with an unpaired bracket, has no parts."""
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", "", "", "")


def _without_port(netloc: str) -> str:
    name, colon, port = netloc.rpartition(":")
    return name if colon and port.isdecimal() else netloc
