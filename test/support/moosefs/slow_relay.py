"""A TCP relay that delays what its clients send, after SIGUSR1.

Arguments: address, port to listen on, port to connect to, seconds of the first delay, seconds of the others.
"""

import asyncio
import signal
import sys

READ_SIZE = 1 << 16


class Delays:
    def __init__(self, first: float, others: float) -> None:
        self.others = others
        self.following = first
        self.active = False

    def start(self) -> None:
        self.active = True
        print("slow", flush=True)

    def take(self) -> float:
        if not self.active:
            return 0.0
        delay, self.following = self.following, self.others
        return delay


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delays: Delays) -> None:
    """Each part is sent after its delay, and not before the previous one; later parts do not wait for it to be read."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    try:
        while data := await reader.read(READ_SIZE):
            due = max(due, loop.time() + delays.take())
            loop.call_at(due, writer.write, data)
    finally:
        loop.call_at(due, writer.close)


async def main(address: str, port: int, target: int, delays: Delays) -> None:
    none = Delays(0, 0)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(address, target)
        await asyncio.gather(pump(reader, upstream_writer, delays), pump(upstream_reader, writer, none))

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, delays.start)
    server = await asyncio.start_server(relay, address, port)
    print("listening", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    address, port, target, first, others = sys.argv[1:]
    asyncio.run(main(address, int(port), int(target), Delays(float(first), float(others))))
