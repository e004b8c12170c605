"""Holds as many connections to web servers as they let it, and opens others for those that end.

usage: connections.py COUNT HOST...

Of three connections to a host one says nothing, one stops in the middle of its head, and one in the middle of
a body for the provider's API. Each waits for the host to end it.
"""

import asyncio
import contextlib
import sys

PORT = 80
BEGUN = (
    b"",
    b"GET / HTTP/1.1\r\nHost: somebody\r\n",
    b"POST /api/deploy-jobs/none/events HTTP/1.1\r\nHost: somebody\r\nContent-Length: 100000\r\n\r\n{",
)


async def hold(host: str, begun: bytes) -> None:
    """One connection after the other, for ever."""
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(host, PORT)
            try:
                writer.write(begun)
                while await reader.read(4096):
                    pass
            finally:
                writer.close()
        # a host that refuses is not asked faster than this machine can
        await asyncio.sleep(0.1)


async def main() -> None:
    count, *hosts = sys.argv[1:]
    each = int(count) // len(hosts)
    await asyncio.gather(*(hold(host, BEGUN[i % len(BEGUN)]) for host in hosts for i in range(each)))


if __name__ == "__main__":
    asyncio.run(main())
