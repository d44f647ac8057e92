from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Consistency(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONSISTENCY_UNSPECIFIED: _ClassVar[Consistency]
    CONSISTENCY_LINEARIZABLE: _ClassVar[Consistency]
    CONSISTENCY_LOCAL: _ClassVar[Consistency]
    CONSISTENCY_LEASE: _ClassVar[Consistency]
    CONSISTENCY_BOUNDED: _ClassVar[Consistency]

class RunStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RUN_STATUS_UNSPECIFIED: _ClassVar[RunStatus]
    RUN_STATUS_APPLIED: _ClassVar[RunStatus]
    RUN_STATUS_GAP: _ClassVar[RunStatus]
    RUN_STATUS_EXPIRED: _ClassVar[RunStatus]

class FailureKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FAILURE_KIND_UNSPECIFIED: _ClassVar[FailureKind]
    FAILURE_KIND_REJECTED: _ClassVar[FailureKind]
    FAILURE_KIND_UNAVAILABLE: _ClassVar[FailureKind]
    FAILURE_KIND_OVERLOADED: _ClassVar[FailureKind]
    FAILURE_KIND_OUTCOME_UNKNOWN: _ClassVar[FailureKind]
    FAILURE_KIND_COMMAND: _ClassVar[FailureKind]
CONSISTENCY_UNSPECIFIED: Consistency
CONSISTENCY_LINEARIZABLE: Consistency
CONSISTENCY_LOCAL: Consistency
CONSISTENCY_LEASE: Consistency
CONSISTENCY_BOUNDED: Consistency
RUN_STATUS_UNSPECIFIED: RunStatus
RUN_STATUS_APPLIED: RunStatus
RUN_STATUS_GAP: RunStatus
RUN_STATUS_EXPIRED: RunStatus
FAILURE_KIND_UNSPECIFIED: FailureKind
FAILURE_KIND_REJECTED: FailureKind
FAILURE_KIND_UNAVAILABLE: FailureKind
FAILURE_KIND_OVERLOADED: FailureKind
FAILURE_KIND_OUTCOME_UNKNOWN: FailureKind
FAILURE_KIND_COMMAND: FailureKind

class ClientServiceCallRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[CallRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[CallRequest, _Mapping]]] = ...) -> None: ...

class ClientServiceCallResponse(_message.Message):
    __slots__ = ("responses",)
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    responses: _containers.RepeatedCompositeFieldContainer[CallResponse]
    def __init__(self, responses: _Optional[_Iterable[_Union[CallResponse, _Mapping]]] = ...) -> None: ...

class CallRequest(_message.Message):
    __slots__ = ("open_session", "run", "queries")
    OPEN_SESSION_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    open_session: OpenSession
    run: bytes
    queries: Queries
    def __init__(self, open_session: _Optional[_Union[OpenSession, _Mapping]] = ..., run: _Optional[bytes] = ..., queries: _Optional[_Union[Queries, _Mapping]] = ...) -> None: ...

class OpenSession(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Queries(_message.Message):
    __slots__ = ("first_id", "requests", "consistency", "timeout_s", "bound_s")
    FIRST_ID_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    BOUND_S_FIELD_NUMBER: _ClassVar[int]
    first_id: int
    requests: _containers.RepeatedScalarFieldContainer[bytes]
    consistency: Consistency
    timeout_s: float
    bound_s: float
    def __init__(self, first_id: _Optional[int] = ..., requests: _Optional[_Iterable[bytes]] = ..., consistency: _Optional[_Union[Consistency, str]] = ..., timeout_s: _Optional[float] = ..., bound_s: _Optional[float] = ...) -> None: ...

class CallResponse(_message.Message):
    __slots__ = ("greeting", "run_answer", "run_refused", "query_answers", "leader", "query_failure")
    GREETING_FIELD_NUMBER: _ClassVar[int]
    RUN_ANSWER_FIELD_NUMBER: _ClassVar[int]
    RUN_REFUSED_FIELD_NUMBER: _ClassVar[int]
    QUERY_ANSWERS_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    QUERY_FAILURE_FIELD_NUMBER: _ClassVar[int]
    greeting: Greeting
    run_answer: RunAnswer
    run_refused: RunRefused
    query_answers: QueryAnswers
    leader: Leader
    query_failure: QueryFailure
    def __init__(self, greeting: _Optional[_Union[Greeting, _Mapping]] = ..., run_answer: _Optional[_Union[RunAnswer, _Mapping]] = ..., run_refused: _Optional[_Union[RunRefused, _Mapping]] = ..., query_answers: _Optional[_Union[QueryAnswers, _Mapping]] = ..., leader: _Optional[_Union[Leader, _Mapping]] = ..., query_failure: _Optional[_Union[QueryFailure, _Mapping]] = ...) -> None: ...

class Greeting(_message.Message):
    __slots__ = ("log_time", "node", "leader", "value_bytes_max", "cluster_id", "session_expiry_s", "retry_after_s")
    LOG_TIME_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    VALUE_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_EXPIRY_S_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_S_FIELD_NUMBER: _ClassVar[int]
    log_time: int
    node: str
    leader: Leader
    value_bytes_max: int
    cluster_id: bytes
    session_expiry_s: int
    retry_after_s: float
    def __init__(self, log_time: _Optional[int] = ..., node: _Optional[str] = ..., leader: _Optional[_Union[Leader, _Mapping]] = ..., value_bytes_max: _Optional[int] = ..., cluster_id: _Optional[bytes] = ..., session_expiry_s: _Optional[int] = ..., retry_after_s: _Optional[float] = ...) -> None: ...

class Leader(_message.Message):
    __slots__ = ("node", "address")
    NODE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    node: str
    address: str
    def __init__(self, node: _Optional[str] = ..., address: _Optional[str] = ...) -> None: ...

class RunAnswer(_message.Message):
    __slots__ = ("session", "first", "status", "expected", "outcomes")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    session: bytes
    first: int
    status: RunStatus
    expected: int
    outcomes: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, session: _Optional[bytes] = ..., first: _Optional[int] = ..., status: _Optional[_Union[RunStatus, str]] = ..., expected: _Optional[int] = ..., outcomes: _Optional[_Iterable[bytes]] = ...) -> None: ...

class RunRefused(_message.Message):
    __slots__ = ("session", "requests")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    session: bytes
    requests: _containers.RepeatedCompositeFieldContainer[RefusedRequest]
    def __init__(self, session: _Optional[bytes] = ..., requests: _Optional[_Iterable[_Union[RefusedRequest, _Mapping]]] = ...) -> None: ...

class RefusedRequest(_message.Message):
    __slots__ = ("number", "reason")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    number: int
    reason: str
    def __init__(self, number: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class QueryAnswers(_message.Message):
    __slots__ = ("first_id", "results")
    FIRST_ID_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    first_id: int
    results: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, first_id: _Optional[int] = ..., results: _Optional[_Iterable[bytes]] = ...) -> None: ...

class QueryFailure(_message.Message):
    __slots__ = ("first_id", "count", "failure")
    FIRST_ID_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    first_id: int
    count: int
    failure: Failure
    def __init__(self, first_id: _Optional[int] = ..., count: _Optional[int] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("kind", "type", "message", "retry_after_s")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_S_FIELD_NUMBER: _ClassVar[int]
    kind: FailureKind
    type: str
    message: str
    retry_after_s: float
    def __init__(self, kind: _Optional[_Union[FailureKind, str]] = ..., type: _Optional[str] = ..., message: _Optional[str] = ..., retry_after_s: _Optional[float] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("start", "cluster_id")
    START_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    start: int
    cluster_id: bytes
    def __init__(self, start: _Optional[int] = ..., cluster_id: _Optional[bytes] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("changes", "next", "trimmed_first", "cluster_id")
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    TRIMMED_FIRST_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    next: int
    trimmed_first: int
    cluster_id: bytes
    def __init__(self, changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., next: _Optional[int] = ..., trimmed_first: _Optional[int] = ..., cluster_id: _Optional[bytes] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("slot", "position", "unix_time", "name", "arguments")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    UNIX_TIME_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    slot: int
    position: int
    unix_time: int
    name: str
    arguments: bytes
    def __init__(self, slot: _Optional[int] = ..., position: _Optional[int] = ..., unix_time: _Optional[int] = ..., name: _Optional[str] = ..., arguments: _Optional[bytes] = ...) -> None: ...

class SnapshotStreamRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SnapshotStreamResponse(_message.Message):
    __slots__ = ("slot", "chunk", "more", "end")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    slot: int
    chunk: bytes
    more: bool
    end: bool
    def __init__(self, slot: _Optional[int] = ..., chunk: _Optional[bytes] = ..., more: bool = ..., end: bool = ...) -> None: ...

class TakeSnapshotRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TakeSnapshotResponse(_message.Message):
    __slots__ = ("node", "slot", "size_bytes", "problem")
    NODE_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    node: str
    slot: int
    size_bytes: int
    problem: str
    def __init__(self, node: _Optional[str] = ..., slot: _Optional[int] = ..., size_bytes: _Optional[int] = ..., problem: _Optional[str] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: bytes
    def __init__(self, status: _Optional[bytes] = ...) -> None: ...
