"""One node of the key-value store. Start three, each in its own terminal:

python server.py n1
python server.py n2
python server.py n3
"""

from __future__ import annotations

import argparse
import asyncio
import signal

from store import KeyValueStore

import paxospp

CLUSTER = "n1=127.0.0.1:7001,n2=127.0.0.1:7002,n3=127.0.0.1:7003"


async def serve(name: str, cluster: dict[str, str], directory: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with paxospp.Node(name, cluster=cluster, storage=f"file:{directory}/{name}", machine=KeyValueStore) as node:
        print(f"{name} listens on {node.address}", flush=True)
        stopped = [asyncio.create_task(stop.wait()), asyncio.create_task(node.wait_stopped())]
        await asyncio.wait(stopped, return_when=asyncio.FIRST_COMPLETED)
    stopped[0].cancel()
    await stopped[1]  # raises the error that stopped the node, if there was one


def main() -> None:
    parser = argparse.ArgumentParser(description="One node of the key-value store.", allow_abbrev=False)
    parser.add_argument("name", help="the name of this node")
    parser.add_argument("--cluster", default=CLUSTER, help="the nodes of the cluster (default: %(default)s)")
    parser.add_argument("--data", default="./data", help="the directory for the logs (default: %(default)s)")
    options = parser.parse_args()
    cluster = dict(node.split("=", 1) for node in options.cluster.split(","))
    try:
        asyncio.run(serve(options.name, cluster, options.data))
    except paxospp.PaxosppError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
