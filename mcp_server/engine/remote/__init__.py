"""Models of other servers, behind the same protocol as our own.

Reading order: engine, stream, wire, answer, pool, http, errors.
"""
