"""Snapshots of annotated attributes."""

from __future__ import annotations

import struct
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxospp.errors import ConfigError, CorruptedError
from paxospp.state_machine import MachineError, StateMachine, command, prepare
from paxospp.state_machine.annotated_state import CHUNK_BYTES_MAX


@dataclass
class Point:
    x: int
    y: int = 0


class Everything(StateMachine):
    names: dict[str, str]
    points: dict[int, Point]
    order: OrderedDict[str, int]
    counts: Counter[str]
    row: list[int]
    members: set[str]
    fixed: frozenset[int]
    recent: deque[int]
    bounded: Annotated[deque[int], "the last three"]
    anything: Any
    limit: Final[int]
    total: int
    maybe: list[int] | None

    def __init__(self) -> None:
        self.limit = 3
        self.total = 0
        self.maybe = None
        self.names = {}
        self.points = {}
        self.order = OrderedDict()
        self.counts = Counter()
        self.row = []
        self.members = set()
        self.fixed = frozenset()
        self.recent = deque()
        self.bounded = deque(maxlen=3)
        self.anything = None

    def fill(self, number: int) -> None:
        self.names = {f"k{i}": f"v{i}" for i in reversed(range(number))}
        self.points = {i: Point(i, -i) for i in range(number)}
        self.order = OrderedDict((str(i), i) for i in range(number))
        if number:
            self.order.move_to_end("0")
        self.counts = Counter({str(i): i for i in range(number)})
        self.row = list(range(number))
        self.members = {f"m{i}" for i in range(number)}
        self.fixed = frozenset(range(number))
        self.recent = deque(range(number))
        self.bounded.extend(range(number))
        self.anything = {"n": number, "row": list(range(number))}
        self.total = number
        self.maybe = list(range(number))


def copy_of(machine: StateMachine, chunks: Iterable[bytes] | None = None) -> Any:
    copy = type(machine)()
    copy.restore(machine.snapshot() if chunks is None else chunks)
    return copy


@pytest.mark.parametrize("number", [0, 1, 64, 65, 1_000, 30_000])
def test_every_attribute_comes_back_as_it_was(number: int) -> None:
    machine = Everything()
    machine.fill(number)

    copy = copy_of(machine)

    assert vars(copy) == vars(machine)
    assert [type(value) for value in vars(copy).values()] == [type(value) for value in vars(machine).values()]
    assert list(copy.names) == list(machine.names)
    assert list(copy.order) == list(machine.order)
    assert copy.bounded.maxlen == 3
    assert copy.recent.maxlen is None


def test_equal_states_have_equal_snapshots_whatever_the_order_of_their_sets() -> None:
    one, other = Everything(), Everything()
    one.members = {f"m{i}" for i in range(1_000)}
    other.members = {f"m{i}" for i in reversed(range(5_000))}
    other.members -= {f"m{i}" for i in range(1_000, 5_000)}

    assert list(one.snapshot()) == list(other.snapshot())


def test_a_large_bounded_deque_keeps_its_bound() -> None:
    machine = Everything()
    machine.bounded = deque(range(20_000), 10_000)

    copy = copy_of(machine)

    assert copy.bounded == machine.bounded
    assert copy.bounded.maxlen == 10_000


def test_a_snapshot_does_not_see_later_commands() -> None:
    machine = Everything()
    machine.fill(10)

    chunks = machine.snapshot()
    machine.fill(20)
    machine.row.append(7)

    assert copy_of(machine, chunks).row == list(range(10))


def test_the_copy_shares_nothing_with_the_machine() -> None:
    machine = Everything()
    machine.fill(3)
    copy = copy_of(machine)

    copy.row.append(9)
    copy.points[0].x = 9

    assert machine.row == [0, 1, 2]
    assert machine.points[0].x == 0


def test_chunks_are_bounded_and_no_value_is_decoded_in_one_go() -> None:
    machine = Everything()
    machine.names = {str(i): "x" * 1_000 for i in range(5_000)}

    chunks = list(machine.snapshot())

    assert max(map(len, chunks)) <= CHUNK_BYTES_MAX
    assert len(chunks) >= 5
    assert copy_of(machine, chunks).names == machine.names


def test_a_value_larger_than_a_chunk_is_cut() -> None:
    machine = Everything()
    machine.anything = "x" * (3 * CHUNK_BYTES_MAX)
    machine.names = {str(i): "y" * CHUNK_BYTES_MAX for i in range(10)}

    chunks = list(machine.snapshot())

    assert max(map(len, chunks)) <= CHUNK_BYTES_MAX
    assert vars(copy_of(machine, chunks)) == vars(machine)


@given(cuts=st.lists(st.integers(min_value=1, max_value=40)))
def test_chunks_may_be_cut_in_any_way(cuts: list[int]) -> None:
    machine = Everything()
    machine.fill(30)
    whole = b"".join(machine.snapshot())

    def cut() -> Iterator[bytes]:
        at = 0
        for size in cuts:
            yield whole[at : at + size]
            at += size
        yield whole[at:]

    assert vars(copy_of(machine, cut())) == vars(machine)


def test_a_snapshot_that_was_cut_short_is_refused_and_nothing_changes() -> None:
    machine = Everything()
    machine.fill(70)
    whole = b"".join(machine.snapshot())
    before = vars(Everything())

    for end in range(0, len(whole), 7):
        target = Everything()
        with pytest.raises(CorruptedError, match="snapshot: "):
            target.restore([whole[:end]])
        assert vars(target) == before


def test_a_snapshot_without_one_of_its_pieces_is_refused() -> None:
    class Two(StateMachine):
        a: int = 1
        b: int = 2

    whole = b"".join(Two().snapshot())
    piece = struct.calcsize(">QB") + len(b"a\x01")

    with pytest.raises(CorruptedError, match="a part of it is missing"):
        Two().restore([whole[piece:]])
    with pytest.raises(CorruptedError, match="twice"):
        Two().restore([whole[:piece] + whole])
    with pytest.raises(CorruptedError, match="goes on after its end"):
        Two().restore([whole + whole])
    with pytest.raises(CorruptedError, match="its format"):
        Two().restore([whole[:-9] + b"\x09" + whole[-8:]])


def test_an_attribute_that_an_older_snapshot_lacks_keeps_what_init_gave() -> None:
    class Old(StateMachine):
        names: dict[str, str]

        def __init__(self) -> None:
            self.names = {"a": "b"}

    class New(StateMachine):
        names: dict[str, str]
        added: list[int]
        count: int = 7

        def __init__(self) -> None:
            self.names = {}
            self.added = [1]

    machine = New()
    machine.restore(Old().snapshot())

    assert (machine.names, machine.added, machine.count) == ({"a": "b"}, [1], 7)


def test_an_attribute_that_this_code_lacks_is_not_dropped_in_silence() -> None:
    class New(StateMachine):
        added: int = 1

    class Old(StateMachine):
        pass

    with pytest.raises(MachineError, match="the snapshot holds `added`, which Old does not annotate"):
        Old().restore(New().snapshot())


def test_a_snapshot_that_does_not_fit_the_annotation_names_the_attribute() -> None:
    class Text(StateMachine):
        value: str = "a"

    class Number(StateMachine):
        value: int = 1

    with pytest.raises(
        MachineError, match=r"Number\.value: the snapshot does not match its annotation: Expected `int`"
    ):
        Number().restore(Text().snapshot())


def test_a_subclass_has_the_state_of_its_bases_and_of_plain_mixins() -> None:
    class Mixin:
        mixed: int = 1

    class Base(StateMachine):
        base: int = 2

    class Sub(Mixin, Base):
        own: int = 3

    machine = Sub()
    machine.mixed, machine.base, machine.own = 4, 5, 6
    copy = Sub()
    copy.restore(machine.snapshot())

    assert (copy.mixed, copy.base, copy.own) == (4, 5, 6)


def test_an_attribute_that_is_not_set_yet_is_left_out() -> None:
    class Machine(StateMachine):
        later: str

    machine = Machine()
    prepare(machine)

    assert not hasattr(copy_of(machine), "later")


def test_an_attribute_without_annotation_is_refused_with_the_line_to_write() -> None:
    class Machine(StateMachine):
        def __init__(self) -> None:
            self.data = {"a": 1}

    with pytest.raises(ConfigError) as caught:
        prepare(Machine())

    assert str(caught.value) == (
        "Machine.data is part of the state but has no annotation in the class body; "
        "write `data: dict[<type>, <type>]` there"
    )


def test_an_attribute_without_annotation_that_a_command_set_is_not_lost_in_silence() -> None:
    class Machine(StateMachine):
        @command
        def start(self) -> None:
            self.started = True

    machine = Machine()
    prepare(machine)
    machine.start()

    with pytest.raises(ConfigError, match="write `started: bool` there"):
        machine.snapshot()


@pytest.mark.parametrize(
    ("value", "line"),
    [(None, "x: <type> | None"), (1, "x: int"), ([1], "x: list[<type>]"), ((), "x: tuple[<type>, ...]")],
)
def test_the_line_to_write_fits_the_value(value: object, line: str) -> None:
    class Machine(StateMachine):
        def __init__(self) -> None:
            self.x = value

    with pytest.raises(ConfigError, match="write `") as caught:
        prepare(Machine())

    assert f"`{line}`" in str(caught.value)


def test_a_type_that_cannot_be_stored_is_refused_when_a_node_starts() -> None:
    class Machine(StateMachine):
        value: complex = 0j

    with pytest.raises(ConfigError, match=r"Machine\.value: `complex` cannot be stored"):
        prepare(Machine())


def test_a_value_that_a_snapshot_could_not_hold_is_refused_when_a_node_starts() -> None:
    class Large(StateMachine):
        value: int = 1 << 64

    class Wrong(StateMachine):
        value: int = "one"  # type: ignore[assignment]

    with pytest.raises(ConfigError, match=r"Large\.value cannot be encoded"):
        prepare(Large())
    with pytest.raises(ConfigError, match=r"Wrong\.value: the snapshot does not match its annotation"):
        prepare(Wrong())


def test_a_value_that_would_come_back_as_its_base_is_refused_when_a_node_starts() -> None:
    class Lists(StateMachine):
        lists: dict[str, list[int]]

        def __init__(self) -> None:
            self.lists = defaultdict(list)

    with pytest.raises(ConfigError, match=r"Lists\.lists holds a defaultdict, and would come back .* as dict"):
        prepare(Lists())


def test_an_int_stands_in_for_a_float() -> None:
    class Sum(StateMachine):
        total: float = 0

    prepare(Sum())


@pytest.mark.parametrize("given_machine", [3, None, Everything, StateMachine()])
def test_what_is_no_machine_is_refused(given_machine: object) -> None:
    with pytest.raises(ConfigError):
        prepare(given_machine)


def test_a_machine_may_keep_its_own_snapshots_and_then_needs_no_annotations() -> None:
    class Own(StateMachine):
        def __init__(self) -> None:
            self.names: dict[str, int] = {}

        @command
        def put(self, name: str) -> None:
            self.names[name] = 1

        def snapshot(self) -> Iterable[bytes]:
            return [msgspec.msgpack.encode(self.names)]

        def restore(self, chunks: Iterable[bytes]) -> None:
            self.names = msgspec.msgpack.decode(b"".join(chunks))

    machine = Own()
    prepare(machine)
    machine.put("a")

    assert not Own.full_control
    assert copy_of(machine).names == {"a": 1}
