"""State machines: what a user subclasses, and how its calls and state become bytes.

``machine`` is the class, ``definition`` what is refused when it is made, ``operations`` its
commands and queries, ``codec`` one operation's way to bytes, ``annotations`` and ``types`` what
may stand in a signature, ``encoding`` MessagePack, ``state`` snapshots, ``context`` slot, time
and chance, ``payload`` what travels, ``texts`` arguments from a command line.
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
