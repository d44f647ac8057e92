"""The profiles of scripted faults: one script of several steps, repeated throughout the run.

Other profiles make one situation likely, and ``attacks`` are drawn at random. A situation that needs four steps in a
row and then the right moment is rare with both. So some seeds repeat one script (``scripted_faults``), each time with
other nodes, slots and delays:

* *Late promises*: a candidate asks a quorum about a slot that is damaged in its own log and was never accepted at the
  other member. It leads, and before it can propose there, the late answer of a third node reports a value (rule 2:
  clean answers are counted slot by slot). Below is a gap, which is filled while the damage is still there.
* *Two leaders*: leases are switched off and on, a minority keeps its leader, and the others elect another one when
  their leases have ended. The former leader still counts grants of its minority (rule 6: by its own clock and the
  round). Or a node grants the new leader a lease, loses the promise that came with it, and hears the former leader
  next.
* *Sole copies*: what only its leader knows decided is lost there, again and again (rule 4).
* *Founders*: founders are killed while a founding value is being accepted, and the nodes that hold the value begin
  again (rule 9: it is proposed again); or a node loses its disk between its promise and the founding, or while others
  hold a founding value that lists it.
* *A star*: all nodes are linked to a node that lags, and to no other. Another node knows more, but has lost its
  snapshot of that, so it can neither help nor lead (rule 5: a node that knows more goes first, but not forever).
* *Torn writes*: an acceptor hears of a leader by its first value, so one write raises the promise and holds the value;
  the power fails during that write (rule 3: both are on disk or neither).

References: Zhou et al., "FoundationDB" (2021), section 4.2; Lamport, "Paxos Made Simple" (2001), section 2.5, for gaps.
"""

from __future__ import annotations

from collections.abc import Mapping

from paxospp.testing.simulation.faults.profiles import Draw, Profile, ProfileSet, between, choice

LATE_PROMISES = "late promises meet damage"
TWO_LEADERS = "two lead under leases"
FOUNDERS = "founders die while they found"
TORN = "a write is torn that promises and accepts"
STAR = "one hears a quorum and waits for a lost snapshot"
_OFTEN = between(0.02, 0.1)
_LONG: Mapping[str, Draw] = {
    "nodes": choice(3),
    "safety_s": choice(4.0, 6.0),
    "pace_s": choice(0.05, 0.1),
    "lease_us": choice(0),  # without leases, every node may promise at any time
}

SCRIPTED_PROFILES = ProfileSet(
    "the rehearsal",
    0.1,
    {
        LATE_PROMISES: Profile(
            faults={"script_s": _OFTEN},
            settings={
                "alpha": choice(8, 64),
                "batch_bytes_max": choice(1),
                "tail_bytes_max": choice(32 << 20),
                "kept_log_slots_max": choice(100_000),
                "resend_interval_s": choice(0.02, 0.05),
            },
            plan={
                **_LONG,
                "clients": choice(6),
                "write_s": choice(0.002, 0.01),
                "damages_all": choice(True, True, False),
            },
        ),
        TWO_LEADERS: Profile(
            faults={"script_s": _OFTEN, "torn": choice(True)},
            settings={
                "heartbeat_interval_s": choice(0.02),
                "election_timeout_s": choice(0.4),
                "session_expiry_s": choice(3600),
            },
            plan={
                "nodes": choice(5),
                "safety_s": choice(4.0),
                "pace_s": choice(0.05),
                "clients": choice(4),
                "lease_us": choice(50_000, 100_000),
                "weak_reads": choice(0.6),
            },
        ),
        "what only its leader knew is lost again and again": Profile(
            faults={"sole_loss_s": between(0.05, 0.1)},
            settings={
                "snapshot_log_slots_max": choice(2, 4),
                "snapshot_log_bytes_max": choice(8 << 20),
                "kept_log_slots_max": choice(1),
                "chunk_bytes_max": choice(64, 1 << 10),
                "alpha": choice(4, 8),
                "batch_bytes_max": choice(1),
                "resend_interval_s": choice(0.02, 0.05),
            },
            plan={**_LONG, "clients": choice(3), "damages_all": choice(True)},
        ),
        FOUNDERS: Profile(
            faults={"script_s": _OFTEN, "delay_s": choice(0.0, 0.003), "loss": choice(0.0, 0.1)},
            settings={"resend_interval_s": choice(0.02, 0.05), "election_timeout_s": choice(0.4)},
            each={"alpha": choice(1, 2, 8, 64)},
            plan={"nodes": choice(3, 5), "safety_s": choice(2.0), "founds_first": choice(False)},
        ),
        TORN: Profile(
            faults={"script_s": _OFTEN, "torn": choice(True), "lose_unsynced": choice(True, False)},
            settings={"alpha": choice(2, 8), "resend_interval_s": choice(0.05, 0.2)},
            plan={**_LONG, "clients": choice(3), "safety_s": choice(2.0), "write_s": choice(0.002, 0.01)},
        ),
        STAR: Profile(
            faults={"script_s": _OFTEN},
            settings={
                "election_timeout_s": choice(0.1, 0.2),
                "heartbeat_interval_s": choice(0.02),
                "snapshot_log_bytes_max": choice(8 << 20),
                "snapshot_log_slots_max": choice(100_000),
                "kept_log_slots_max": choice(1),
                "batch_bytes_max": choice(1),
                "alpha": choice(8),
                "resend_interval_s": choice(0.02),
            },
            plan={
                **_LONG,
                "nodes": choice(5),
                "safety_s": choice(6.0),
                "clients": choice(2),
                "damages_all": choice(True),
            },
        ),
    },
)
"""Drawn for seeds that have no other profile; each is named after its script."""
