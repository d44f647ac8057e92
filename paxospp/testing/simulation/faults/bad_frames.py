"""Bad frames: those that arrive damaged, and those that no node of the cluster sent (N9).

They go through the real codec: the judges find what it should not have let through.
"""

from __future__ import annotations

from random import Random

from paxospp.messages import Accept, Heartbeat, Message, Prepare, Sender
from paxospp.model import Ballot, Kind, NodeId, Slot
from paxospp.testing.simulation.faults.families import Faults
from paxospp.wire.frames import encode_frame


class BadFrames:
    """Makes frames as they arrive, some of them damaged or forged."""

    def __init__(self, seed: str, faults: Faults) -> None:
        self.faults = faults
        self._random = Random(f"{seed} N9 frames")

    def frame(self, sender: Sender, to: NodeId, message: Message) -> bytes:
        """Return the frame that carries ``message``, as it arrives."""
        random = self._random
        data = encode_frame(sender, to, [message])
        if random.random() >= self.faults.bad_frame:
            return data
        match random.randrange(6):
            case 0:
                return _flip(data, random)
            case 1:
                return data[: random.randrange(len(data))]
            case 2:
                return data + random.randbytes(random.randint(1, 64))
            case 3:
                return _flip(_flip(data, random), random)
            case 4:
                return encode_frame(sender, NodeId("nobody"), [message])
            case _:
                start = random.randrange(len(data))
                return data[:start] + bytes(min(16, len(data) - start)) + data[start + 16 :]

    def forged(self, sender: Sender, to: NodeId) -> bytes:
        """Return a frame with an enormous claim, of a stranger or under a ballot of another node; or random bytes."""
        random = self._random
        stranger = Sender(
            random.randbytes(16), sender.group, sender.node, sender.incarnation, sender.boot, sender.nonce
        )
        claims: NodeId | None = None
        match random.randrange(6):
            case 0:
                stranger = sender._replace(group=sender.group + 1)
            case 1:
                stranger = sender._replace(node=NodeId("stranger"))
            case 2:
                stranger = sender._replace(incarnation=sender.incarnation ^ 6)
            case 3:
                return random.randbytes(random.randrange(200))
            case 4:
                stranger, claims = sender, to
            case _:
                pass
        ballot = Ballot(1 << random.randint(30, 60), claims or stranger.node, stranger.incarnation)
        message: Message
        match random.randrange(3):
            case 0:
                message = Prepare(ballot=ballot, start=Slot(1))
            case 1:
                message = Accept(
                    ballot=ballot,
                    slot=Slot(random.randint(1, 50)),
                    kind=Kind.NOOP,
                    value=b"",
                    decided_up_to=Slot(10**6),
                )
            case _:
                message = Heartbeat(
                    round=1,
                    leading=ballot,
                    quorum_connected=True,
                    decided_up_to=Slot(10**6),
                    promised=ballot,
                    remembered=Slot(0),
                    booted_with=None,
                )
        return encode_frame(stranger, to, [message])


def _flip(data: bytes, random: Random) -> bytes:
    place = random.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << random.randrange(8))]) + data[place + 1 :]
