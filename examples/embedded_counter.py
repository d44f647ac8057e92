"""A replicated counter embedded in a program, here as a cluster of one node. Run it twice: it counts on."""

import asyncio

import paxospp


class Counter(paxospp.StateMachine):
    total: int = 0

    @paxospp.command
    def add(self, n: int = 1) -> int:
        self.total += n
        return self.total


async def main() -> None:
    cluster = {"n1": "127.0.0.1:7001"}
    async with paxospp.Node("n1", cluster=cluster, storage="file:./counter", machine=Counter) as node:
        print(await node.execute(Counter.add))


asyncio.run(main())
