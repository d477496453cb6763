"""The listening sockets of both processes."""

import asyncio
import socket

from mcp_server import listening


async def test_accepted_connections_send_small_answers_at_once() -> None:
    accepted: asyncio.Queue[int] = asyncio.Queue()

    def on_connection(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        accepted.put_nowait(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listener = listening.bind("127.0.0.1", 0, name="a test", setting="nothing")
    async with await asyncio.start_server(on_connection, sock=listener):
        _, client = await asyncio.open_connection(*listener.getsockname())
        assert await accepted.get() != 0, "Nagle's algorithm holds the body of an answer back for 40 ms"
        client.close()
        await client.wait_closed()
