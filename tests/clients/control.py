"""A control channel by PyPI `websockets`: sends each line of standard input as a message, prints each message as a line.

python control.py URL
"""
import asyncio
import sys

import websockets


async def main(url):
    async with websockets.connect(url, subprotocols=["rtlogd.v1"], max_size=None) as channel:
        assert channel.subprotocol == "rtlogd.v1"
        print("open", flush=True)

        async def hear():
            async for message in channel:
                print(message, flush=True)

        hearing = asyncio.create_task(hear())
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            await channel.send(line.rstrip("\n"))
        hearing.cancel()


asyncio.run(main(sys.argv[1]))
