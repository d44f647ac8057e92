"""A client of the key-value store: runs the command on its command line, or shows a prompt.

python client.py put boo foo
python client.py
> get boo
foo
"""

from __future__ import annotations

import argparse
import sys

from store import KeyValueStore

import paxospp.sync

ADDRESSES = "127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003"
USAGE = "put KEY VALUE | get KEY | delete KEY"


def answer(client: paxospp.sync.Client, words: list[str]) -> str:
    match words:
        case ["put", key, value]:
            client.execute(KeyValueStore.put, key, value)
            return "ok"
        case ["get", key]:
            found = client.query(KeyValueStore.get, key)
            return "(nothing)" if found is None else found
        case ["delete", key]:
            return "ok" if client.execute(KeyValueStore.delete, key) else "(nothing)"
        case _:
            return USAGE


def main() -> None:
    parser = argparse.ArgumentParser(description=f"A client of the key-value store: {USAGE}", allow_abbrev=False)
    parser.add_argument("--cluster", default=ADDRESSES, help="addresses of some nodes (default: %(default)s)")
    parser.add_argument("words", nargs="*", metavar="WORD", help="one command (default: read commands from a prompt)")
    options = parser.parse_args()
    # Any one address is enough: the client learns the others, and finds the leader.
    with paxospp.sync.Client(options.cluster.split(",")) as client:
        if options.words:
            text = answer(client, options.words)
            if text == USAGE:
                parser.error(f"write {USAGE}")
            print(text)
            return
        while True:
            print("> ", end="", flush=True)
            line = sys.stdin.readline()
            if not line:
                return
            try:
                print(answer(client, line.split()))
            except paxospp.CallError as error:  # the class says whether the command took effect
                print(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
