"""Frames: a frame decodes to what was encoded, and damaged bytes are refused."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxospp.messages import Accept, Accepted, ForwardRuns, Heartbeat, Message, Promise, Sender
from paxospp.model import Ballot, Entry, Kind, NodeId, Slot
from paxospp.wire.frames import FrameDecoder, FrameEncoder, MalformedFrameError, decode_frame, encode_frame, size_of
from paxospp.wire.v1 import peer_pb2 as pb
from tests.examples import examples
from tests.wire.drawn import MESSAGES, NAMES, SENDERS

N2, N3 = NodeId("n2"), NodeId("n3")
BALLOT = Ballot(7, NodeId("n1"), 2**63 + 1)
SENDER = Sender(b"cluster-id-16-by", 3, NodeId("n1"), 2**63 + 1, 4, 2**60)
ACCEPT = Accept(ballot=BALLOT, slot=Slot(9), kind=Kind.COMMANDS, value=b"a value", decided_up_to=Slot(8))
MESSAGES_SENT: tuple[Message, ...] = (
    ACCEPT,
    Promise(
        ballot=BALLOT,
        start=Slot(1),
        answer=1,
        part=0,
        parts=1,
        decided=Slot(1),
        first=Slot(1),
        last=Slot(4),
        entries=(Entry(Slot(3), BALLOT, Kind.NOOP, b""),),
        faulty=(range(2, 3),),
    ),
    Heartbeat(
        round=5,
        leading=BALLOT,
        quorum_connected=True,
        decided_up_to=Slot(8),
        promised=BALLOT,
        remembered=Slot(0),
        booted_with=None,
    ),
)


@examples(120)
@given(SENDERS, NAMES, st.lists(MESSAGES, max_size=5))
def test_a_frame_comes_back_as_it_was_sent(sender: Sender, to: NodeId, messages: list[Message]) -> None:
    assert decode_frame(encode_frame(sender, to, messages), to) == (sender, messages)


@examples(100)
@given(SENDERS, st.lists(MESSAGES, max_size=5))
def test_an_encoder_that_remembers_makes_the_same_frames_for_every_peer(
    sender: Sender, messages: list[Message]
) -> None:
    encoder = FrameEncoder()

    for to in (N2, N3, N2):
        assert encoder.encode(sender, to, messages) == encode_frame(sender, to, messages)


@examples(120)
@given(st.lists(st.sampled_from((0, 1)), min_size=2, max_size=6), st.lists(MESSAGES, max_size=4), st.data())
def test_nothing_of_a_message_or_of_a_sender_stays_in_the_next_frame(
    ballots: list[int], others: list[Message], data: st.DataObject
) -> None:
    encoder = FrameEncoder()
    for number, choice in enumerate(ballots):
        ballot = Ballot(choice, NodeId("n1"), 2**63 + 1)
        slot = Slot(data.draw(st.integers(1, 2**63 - 1)))
        value = data.draw(st.sampled_from((b"", b"small", bytes(5_000))))
        kind, decided = data.draw(st.sampled_from(Kind)), Slot(data.draw(st.integers(0, 2**63 - 1)))
        accept = Accept(ballot=ballot, slot=slot, kind=kind, value=value, decided_up_to=decided)
        messages = [accept, Accepted(ballot=ballot, slot=slot), *others]
        sender = SENDER._replace(boot=number // 2)

        assert decode_frame(encoder.encode(sender, N2, messages), N2) == (sender, messages)


def test_a_number_that_does_not_fit_leaves_nothing_behind_in_its_encoder() -> None:
    encoder = FrameEncoder()
    other = Ballot(8, NodeId("n3"), 1)
    for bad in (
        Accepted(ballot=Ballot(-1, NodeId("n9"), 1), slot=Slot(1)),
        Accept(ballot=other, slot=Slot(-1), kind=Kind.NOOP, value=b"v", decided_up_to=Slot(0)),
    ):
        with pytest.raises(ValueError, match="range"):
            encoder.encode(SENDER, N2, [bad])

        for good in (Accepted(ballot=bad.ballot._replace(round=8), slot=Slot(3)), ACCEPT):
            assert decode_frame(encoder.encode(SENDER, N2, [good]), N2) == (SENDER, [good])


@examples(120)
@given(st.lists(SENDERS, min_size=1, max_size=3), st.lists(st.tuples(st.integers(0, 20), MESSAGES), max_size=30))
def test_a_decoder_that_remembers_senders_reads_each_as_if_it_were_the_first(
    senders: list[Sender], said: list[tuple[int, Message]]
) -> None:
    decoder = FrameDecoder(N2)
    for number, message in said:
        sender = senders[number % len(senders)]._replace(boot=number)  # more lives than it remembers
        assert decoder.decode(encode_frame(sender, N2, [message])) == (sender, [message])


def test_what_a_known_sender_says_is_checked_like_a_strangers() -> None:
    decoder = FrameDecoder(N2)
    frame = encode_frame(SENDER, N2, [ACCEPT])
    other = SENDER._replace(boot=5)
    assert decoder.decode(frame) == (SENDER, [ACCEPT])

    for place in range(len(frame)):
        for bit in (1, 64):
            damaged = bytearray(frame)
            damaged[place] ^= bit
            try:
                assert decoder.decode(bytes(damaged)) == (SENDER, [ACCEPT])
            except MalformedFrameError:
                continue
    with pytest.raises(MalformedFrameError):
        decoder.decode(frame + pb.LinkRequest(node="n3", to="n2").SerializeToString())
    with pytest.raises(MalformedFrameError, match="for another node"):
        decoder.decode(encode_frame(SENDER, N3, [ACCEPT]))
    assert decoder.decode(encode_frame(other, N2, [ACCEPT])) == (other, [ACCEPT])
    assert decoder.decode(frame) == (SENDER, [ACCEPT])


def test_an_encoder_forgets_old_values_and_never_mistakes_a_new_one_for_them() -> None:
    encoder = FrameEncoder()

    for number in range(2_000):
        value = bytes([number % 251]) * (20_000 + number)
        accept = Accept(ballot=BALLOT, slot=Slot(number + 1), kind=Kind.COMMANDS, value=value, decided_up_to=Slot(0))
        assert decode_frame(encoder.encode(SENDER, N2, [accept]), N2)[1] == [accept]

    assert sum(encoded.length for encoded in encoder._kept.values()) <= 4 << 20


def test_no_flipped_bit_changes_what_is_read() -> None:
    frame = encode_frame(SENDER, N2, MESSAGES_SENT)
    accepted = 0

    for position in range(8 * len(frame)):
        damaged = bytearray(frame)
        damaged[position // 8] ^= 1 << position % 8
        try:
            read = decode_frame(bytes(damaged), N2)
        except MalformedFrameError:
            continue
        accepted += 1
        assert read == (SENDER, list(MESSAGES_SENT))

    assert accepted == 0


def test_no_flipped_bit_in_a_frame_whose_fields_are_all_at_their_defaults_changes_what_is_read() -> None:
    """Default values are not written, so they cannot be damaged; a flipped bit may turn one field into another."""
    sender = Sender(b"", 0, NodeId("n1"), 0, 0, 0)
    messages: list[Message] = [Accepted(ballot=Ballot(0, NodeId("n1"), 0), slot=Slot(1)), ForwardRuns(runs=(b"",))]
    frame = encode_frame(sender, N2, messages)

    for position in range(8 * len(frame)):
        damaged = bytearray(frame)
        damaged[position // 8] ^= 1 << position % 8
        try:
            assert decode_frame(bytes(damaged), N2) == (sender, messages)
        except MalformedFrameError:
            continue


def test_a_frame_cut_anywhere_is_refused() -> None:
    frame = encode_frame(SENDER, N2, MESSAGES_SENT)

    for length in range(len(frame)):
        with pytest.raises(MalformedFrameError):
            decode_frame(frame[:length], N2)


@examples(300)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedFrameError):
        decode_frame(data, N2)


def test_frames_damaged_in_many_places_are_refused() -> None:
    chance = random.Random(20)
    frame = encode_frame(SENDER, N2, MESSAGES_SENT)

    for _ in range(3_000):
        damaged = bytearray(frame)
        for _ in range(chance.randint(2, 8)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        if bytes(damaged) != frame:
            with pytest.raises(MalformedFrameError):
                decode_frame(bytes(damaged), N2)


def test_messages_that_change_places_are_noticed() -> None:
    frame = pb.LinkRequest.FromString(encode_frame(SENDER, N2, MESSAGES_SENT))
    bodies = list(frame.messages)
    frame.ClearField("messages")
    frame.messages.extend(reversed(bodies))

    assert reason_for(frame.SerializeToString()) == "checksum"


@pytest.mark.parametrize("field", ["cluster_id", "group", "node", "incarnation", "boot", "nonce", "to"])
def test_every_field_of_the_identity_is_under_the_checksum(field: str) -> None:
    frame = pb.LinkRequest.FromString(encode_frame(SENDER, N2, MESSAGES_SENT))
    before = getattr(frame, field)
    changed = {bytes: b"another", str: "n9", int: 77}[type(before)]
    setattr(frame, field, changed)

    assert reason_for(frame.SerializeToString()) == "checksum"


def test_a_frame_for_another_node_is_refused() -> None:
    assert reason_for(encode_frame(SENDER, N3, [ACCEPT])) == "for another node"


@pytest.mark.parametrize("name", ["", "-n1", "n 1", "n" * 64, "n1\n", "né"])
def test_a_sender_whose_name_is_none_is_refused(name: str) -> None:
    assert reason_for(encode_frame(SENDER._replace(node=NodeId(name)), N2, [])) == "node's name"


def test_an_identity_out_of_its_bounds_is_refused() -> None:
    assert reason_for(encode_frame(SENDER._replace(boot=2**63), N2, [])) == "identity out of bounds"
    assert reason_for(encode_frame(SENDER._replace(cluster_id=bytes(65)), N2, [])) == "identity out of bounds"


def test_one_message_out_of_bounds_spoils_its_whole_frame() -> None:
    bad = Accept(ballot=BALLOT, slot=Slot(0), kind=Kind.NOOP, value=b"", decided_up_to=Slot(0))

    assert reason_for(encode_frame(SENDER, N2, [ACCEPT, bad])) == "slot out of bounds"


def test_large_values_come_back_whole() -> None:
    value = random.Random(1).randbytes(3 << 20)
    accept = Accept(ballot=BALLOT, slot=Slot(1), kind=Kind.COMMANDS, value=value, decided_up_to=Slot(0))

    assert decode_frame(encode_frame(SENDER, N2, [accept, accept]), N2)[1] == [accept, accept]


@examples(200)
@given(MESSAGES)
def test_the_size_of_a_message_is_about_right_and_rarely_too_small(message: Message) -> None:
    exact = len(encode_frame(SENDER, N2, [message])) - len(encode_frame(SENDER, N2, []))

    assert exact <= size_of(message) + 600
    assert size_of(message) <= exact + 1_000


def reason_for(frame: bytes) -> str:
    with pytest.raises(MalformedFrameError) as caught:
        decode_frame(frame, N2)
    assert str(caught.value) == f"malformed frame: {caught.value.reason}"
    return caught.value.reason
