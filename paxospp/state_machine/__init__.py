"""State machines: the class that users subclass, and the encoding of its calls and its state.

==================== ====================================================================
``machine``          ``StateMachine``: applies commands, answers queries, takes snapshots
``definition``       checks a subclass when it is defined
``operations``       commands and queries: methods on an instance, typed on the class
``operation_codec``  encodes and decodes the calls of one operation
``annotations``      resolves the annotations of a class or method
``types``            checks that annotated types can be stored
``annotated_state``  the annotated attributes, to a snapshot and back
``encoding``         MessagePack for arguments, results and state
``payload``          the bytes of a call and of its outcome
``context``          slot, time and random numbers for the running command
``texts``            arguments from a command line
==================== ====================================================================

It performs no I/O and does not know the log; ``execution`` decides when a command runs.
"""

from paxospp.state_machine.annotations import MachineError
from paxospp.state_machine.context import Context
from paxospp.state_machine.definition import operations_of
from paxospp.state_machine.machine import (
    MachineType,
    StateMachine,
    check_command,
    check_query,
    complete_call,
    describe,
    prepare,
    refused_commands,
    set_context,
)
from paxospp.state_machine.operations import Answering, Command, Executing, MachineOperation, Query, command, query
from paxospp.state_machine.payload import (
    NAME_BYTES_MAX,
    OUTCOME_RAISED,
    OUTCOME_REJECTED,
    OUTCOME_RESULT,
    RESERVED_PREFIX,
    NotUnderstoodError,
    decode_untyped,
    encode_raised,
    encode_rejected,
    encode_untyped,
    pack_call,
    pack_raw,
    read_outcome,
    unpack_call,
)
from paxospp.state_machine.texts import arguments_from_texts

__all__ = [
    "NAME_BYTES_MAX",
    "OUTCOME_RAISED",
    "OUTCOME_REJECTED",
    "OUTCOME_RESULT",
    "RESERVED_PREFIX",
    "Answering",
    "Command",
    "Context",
    "Executing",
    "MachineError",
    "MachineOperation",
    "MachineType",
    "NotUnderstoodError",
    "Query",
    "StateMachine",
    "arguments_from_texts",
    "check_command",
    "check_query",
    "command",
    "complete_call",
    "decode_untyped",
    "describe",
    "encode_raised",
    "encode_rejected",
    "encode_untyped",
    "operations_of",
    "pack_call",
    "pack_raw",
    "prepare",
    "query",
    "read_outcome",
    "refused_commands",
    "set_context",
    "unpack_call",
]
