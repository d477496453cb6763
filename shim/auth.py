"""The key that a caller sent, and whether it is the right one."""

import hmac

from starlette.requests import HTTPConnection


def bearer_key(connection: HTTPConnection) -> str:
    """Return the key that the caller sent, in `Authorization: Bearer` or `X-Api-Key`; empty when none."""
    scheme, _, bearer = connection.headers.get("authorization", "").partition(" ")
    return bearer.strip() if scheme.lower() == "bearer" else connection.headers.get("x-api-key", "")


def is_key(given: str, key: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(given.encode(), key.encode())
