"""Carries TCP connections from this machine's loopback into the node's network, so that any kubectl reaches it.

Run as a program that was handed a listening socket: sockets stay in the network they were made in, so it accepts on the
machine and connects inside the node. `python relay.py DESCRIPTOR ADDRESS PORT`
"""

import asyncio
import socket
import sys


async def relay(listener: socket.socket, address: str, port: int) -> None:
    """Serve until killed."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(address, port)
        except ConnectionError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))

    server = await asyncio.start_server(serve, sock=listener)
    await server.serve_forever()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    except ConnectionError:
        pass  # One side went away; closing tells the other.
    writer.close()


if __name__ == "__main__":
    asyncio.run(relay(socket.socket(fileno=int(sys.argv[1])), sys.argv[2], int(sys.argv[3])))
