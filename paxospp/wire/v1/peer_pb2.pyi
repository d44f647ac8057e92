from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KIND_UNSPECIFIED: _ClassVar[Kind]
    KIND_NOOP: _ClassVar[Kind]
    KIND_COMMANDS: _ClassVar[Kind]
    KIND_MEMBERSHIP: _ClassVar[Kind]
KIND_UNSPECIFIED: Kind
KIND_NOOP: Kind
KIND_COMMANDS: Kind
KIND_MEMBERSHIP: Kind

class LinkRequest(_message.Message):
    __slots__ = ("cluster_id", "group", "node", "incarnation", "boot", "nonce", "to", "checksum", "messages")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    BOOT_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    cluster_id: bytes
    group: int
    node: str
    incarnation: int
    boot: int
    nonce: int
    to: str
    checksum: int
    messages: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, cluster_id: _Optional[bytes] = ..., group: _Optional[int] = ..., node: _Optional[str] = ..., incarnation: _Optional[int] = ..., boot: _Optional[int] = ..., nonce: _Optional[int] = ..., to: _Optional[str] = ..., checksum: _Optional[int] = ..., messages: _Optional[_Iterable[bytes]] = ...) -> None: ...

class LinkResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PeerMessage(_message.Message):
    __slots__ = ("prepare", "promise", "accept", "accepted", "nack", "heartbeat", "heartbeat_answer", "catch_up", "decided", "forward_runs", "read_request", "read_answer", "snapshot_request", "snapshot_chunk")
    PREPARE_FIELD_NUMBER: _ClassVar[int]
    PROMISE_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    NACK_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_ANSWER_FIELD_NUMBER: _ClassVar[int]
    CATCH_UP_FIELD_NUMBER: _ClassVar[int]
    DECIDED_FIELD_NUMBER: _ClassVar[int]
    FORWARD_RUNS_FIELD_NUMBER: _ClassVar[int]
    READ_REQUEST_FIELD_NUMBER: _ClassVar[int]
    READ_ANSWER_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_REQUEST_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_CHUNK_FIELD_NUMBER: _ClassVar[int]
    prepare: Prepare
    promise: Promise
    accept: Accept
    accepted: Accepted
    nack: Nack
    heartbeat: Heartbeat
    heartbeat_answer: HeartbeatAnswer
    catch_up: CatchUp
    decided: DecidedEntries
    forward_runs: ForwardRuns
    read_request: ReadRequest
    read_answer: ReadAnswer
    snapshot_request: SnapshotRequest
    snapshot_chunk: SnapshotChunk
    def __init__(self, prepare: _Optional[_Union[Prepare, _Mapping]] = ..., promise: _Optional[_Union[Promise, _Mapping]] = ..., accept: _Optional[_Union[Accept, _Mapping]] = ..., accepted: _Optional[_Union[Accepted, _Mapping]] = ..., nack: _Optional[_Union[Nack, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., heartbeat_answer: _Optional[_Union[HeartbeatAnswer, _Mapping]] = ..., catch_up: _Optional[_Union[CatchUp, _Mapping]] = ..., decided: _Optional[_Union[DecidedEntries, _Mapping]] = ..., forward_runs: _Optional[_Union[ForwardRuns, _Mapping]] = ..., read_request: _Optional[_Union[ReadRequest, _Mapping]] = ..., read_answer: _Optional[_Union[ReadAnswer, _Mapping]] = ..., snapshot_request: _Optional[_Union[SnapshotRequest, _Mapping]] = ..., snapshot_chunk: _Optional[_Union[SnapshotChunk, _Mapping]] = ...) -> None: ...

class Ballot(_message.Message):
    __slots__ = ("round", "node", "incarnation")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    round: int
    node: str
    incarnation: int
    def __init__(self, round: _Optional[int] = ..., node: _Optional[str] = ..., incarnation: _Optional[int] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("slot", "ballot", "kind", "value")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    BALLOT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    slot: int
    ballot: Ballot
    kind: Kind
    value: bytes
    def __init__(self, slot: _Optional[int] = ..., ballot: _Optional[_Union[Ballot, _Mapping]] = ..., kind: _Optional[_Union[Kind, str]] = ..., value: _Optional[bytes] = ...) -> None: ...

class SlotRange(_message.Message):
    __slots__ = ("start", "stop")
    START_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    start: int
    stop: int
    def __init__(self, start: _Optional[int] = ..., stop: _Optional[int] = ...) -> None: ...

class Prepare(_message.Message):
    __slots__ = ("ballot", "start")
    BALLOT_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    ballot: Ballot
    start: int
    def __init__(self, ballot: _Optional[_Union[Ballot, _Mapping]] = ..., start: _Optional[int] = ...) -> None: ...

class Promise(_message.Message):
    __slots__ = ("ballot", "start", "part", "parts", "decided", "first", "last", "entries", "faulty", "answer")
    BALLOT_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    DECIDED_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    FAULTY_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    ballot: Ballot
    start: int
    part: int
    parts: int
    decided: int
    first: int
    last: int
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    faulty: _containers.RepeatedCompositeFieldContainer[SlotRange]
    answer: int
    def __init__(self, ballot: _Optional[_Union[Ballot, _Mapping]] = ..., start: _Optional[int] = ..., part: _Optional[int] = ..., parts: _Optional[int] = ..., decided: _Optional[int] = ..., first: _Optional[int] = ..., last: _Optional[int] = ..., entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., faulty: _Optional[_Iterable[_Union[SlotRange, _Mapping]]] = ..., answer: _Optional[int] = ...) -> None: ...

class Accept(_message.Message):
    __slots__ = ("ballot", "slot", "kind", "value", "decided_up_to")
    BALLOT_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    DECIDED_UP_TO_FIELD_NUMBER: _ClassVar[int]
    ballot: Ballot
    slot: int
    kind: Kind
    value: bytes
    decided_up_to: int
    def __init__(self, ballot: _Optional[_Union[Ballot, _Mapping]] = ..., slot: _Optional[int] = ..., kind: _Optional[_Union[Kind, str]] = ..., value: _Optional[bytes] = ..., decided_up_to: _Optional[int] = ...) -> None: ...

class Accepted(_message.Message):
    __slots__ = ("ballot", "slot")
    BALLOT_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    ballot: Ballot
    slot: int
    def __init__(self, ballot: _Optional[_Union[Ballot, _Mapping]] = ..., slot: _Optional[int] = ...) -> None: ...

class Nack(_message.Message):
    __slots__ = ("refused", "promised")
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    PROMISED_FIELD_NUMBER: _ClassVar[int]
    refused: Ballot
    promised: Ballot
    def __init__(self, refused: _Optional[_Union[Ballot, _Mapping]] = ..., promised: _Optional[_Union[Ballot, _Mapping]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("round", "leading", "quorum_connected", "decided_up_to", "recovered_up_to", "promised", "remembered", "booted_with", "checkpoint", "vouched_up_to")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    LEADING_FIELD_NUMBER: _ClassVar[int]
    QUORUM_CONNECTED_FIELD_NUMBER: _ClassVar[int]
    DECIDED_UP_TO_FIELD_NUMBER: _ClassVar[int]
    RECOVERED_UP_TO_FIELD_NUMBER: _ClassVar[int]
    PROMISED_FIELD_NUMBER: _ClassVar[int]
    REMEMBERED_FIELD_NUMBER: _ClassVar[int]
    BOOTED_WITH_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    VOUCHED_UP_TO_FIELD_NUMBER: _ClassVar[int]
    round: int
    leading: Ballot
    quorum_connected: bool
    decided_up_to: int
    recovered_up_to: int
    promised: Ballot
    remembered: int
    booted_with: Ballot
    checkpoint: Checkpoint
    vouched_up_to: int
    def __init__(self, round: _Optional[int] = ..., leading: _Optional[_Union[Ballot, _Mapping]] = ..., quorum_connected: bool = ..., decided_up_to: _Optional[int] = ..., recovered_up_to: _Optional[int] = ..., promised: _Optional[_Union[Ballot, _Mapping]] = ..., remembered: _Optional[int] = ..., booted_with: _Optional[_Union[Ballot, _Mapping]] = ..., checkpoint: _Optional[_Union[Checkpoint, _Mapping]] = ..., vouched_up_to: _Optional[int] = ...) -> None: ...

class Checkpoint(_message.Message):
    __slots__ = ("slot", "digest")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    slot: int
    digest: bytes
    def __init__(self, slot: _Optional[int] = ..., digest: _Optional[bytes] = ...) -> None: ...

class HeartbeatAnswer(_message.Message):
    __slots__ = ("nonce", "round", "promised", "decided", "disk_answers", "quorum_connected", "leader", "remembered", "booted_with", "lease", "vouched_up_to")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    PROMISED_FIELD_NUMBER: _ClassVar[int]
    DECIDED_FIELD_NUMBER: _ClassVar[int]
    DISK_ANSWERS_FIELD_NUMBER: _ClassVar[int]
    QUORUM_CONNECTED_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    REMEMBERED_FIELD_NUMBER: _ClassVar[int]
    BOOTED_WITH_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    VOUCHED_UP_TO_FIELD_NUMBER: _ClassVar[int]
    nonce: int
    round: int
    promised: Ballot
    decided: int
    disk_answers: bool
    quorum_connected: bool
    leader: str
    remembered: int
    booted_with: Ballot
    lease: int
    vouched_up_to: int
    def __init__(self, nonce: _Optional[int] = ..., round: _Optional[int] = ..., promised: _Optional[_Union[Ballot, _Mapping]] = ..., decided: _Optional[int] = ..., disk_answers: bool = ..., quorum_connected: bool = ..., leader: _Optional[str] = ..., remembered: _Optional[int] = ..., booted_with: _Optional[_Union[Ballot, _Mapping]] = ..., lease: _Optional[int] = ..., vouched_up_to: _Optional[int] = ...) -> None: ...

class CatchUp(_message.Message):
    __slots__ = ("start", "stop")
    START_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    start: int
    stop: int
    def __init__(self, start: _Optional[int] = ..., stop: _Optional[int] = ...) -> None: ...

class DecidedEntries(_message.Message):
    __slots__ = ("entries", "decided", "first")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    DECIDED_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    decided: int
    first: int
    def __init__(self, entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., decided: _Optional[int] = ..., first: _Optional[int] = ...) -> None: ...

class ForwardRuns(_message.Message):
    __slots__ = ("runs",)
    RUNS_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, runs: _Optional[_Iterable[bytes]] = ...) -> None: ...

class ReadRequest(_message.Message):
    __slots__ = ("counter", "lease")
    COUNTER_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    counter: int
    lease: bool
    def __init__(self, counter: _Optional[int] = ..., lease: bool = ...) -> None: ...

class ReadAnswer(_message.Message):
    __slots__ = ("nonce", "counter", "slot")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    COUNTER_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    nonce: int
    counter: int
    slot: int
    def __init__(self, nonce: _Optional[int] = ..., counter: _Optional[int] = ..., slot: _Optional[int] = ...) -> None: ...

class SnapshotRequest(_message.Message):
    __slots__ = ("id", "offset", "covers")
    ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    COVERS_FIELD_NUMBER: _ClassVar[int]
    id: str
    offset: int
    covers: int
    def __init__(self, id: _Optional[str] = ..., offset: _Optional[int] = ..., covers: _Optional[int] = ...) -> None: ...

class SnapshotChunk(_message.Message):
    __slots__ = ("slot", "id", "offset", "data", "last", "ballot")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    BALLOT_FIELD_NUMBER: _ClassVar[int]
    slot: int
    id: str
    offset: int
    data: bytes
    last: bool
    ballot: Ballot
    def __init__(self, slot: _Optional[int] = ..., id: _Optional[str] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ..., last: bool = ..., ballot: _Optional[_Union[Ballot, _Mapping]] = ...) -> None: ...
