"""Every endpoint of the llama-server door, by families: generation, texts, the server itself."""

from shim.doors.atlas.llama.routes import generation, server, texts

ENDPOINTS = (*generation.ENDPOINTS, *texts.ENDPOINTS, *server.ENDPOINTS)
