"""How to test a state machine alone: a unit test and ``check_machine``. The last two tests show what it finds."""

from __future__ import annotations

import pytest
from bank import Bank, all_money_is_accounted_for, calls
from leaky_bank import LeakyBank
from unfair_bank import UnfairBank

from paxospp.testing import MachineCheckError, check_machine


def test_money_moves() -> None:
    bank = Bank()
    bank.deposit("ann", 10)
    bank.deposit("bob", 1)

    assert bank.transfer("ann", "bob", 4)
    assert not bank.transfer("ann", "bob", 7)
    assert bank.balances == {"ann": 6, "bob": 5}


def test_the_bank_can_be_replicated() -> None:
    check_machine(Bank, workload=calls, invariant=all_money_is_accounted_for)


def test_the_leak_breaks_the_invariant() -> None:
    with pytest.raises(MachineCheckError, match=r"LeakyBank\.transfer: the invariant does not hold"):
        check_machine(LeakyBank, workload=calls, invariant=all_money_is_accounted_for)


def test_the_order_of_a_set_makes_replicas_differ() -> None:
    with pytest.raises(MachineCheckError, match=r"(?s)UnfairBank\.share_out: .*iterate over sorted"):
        check_machine(UnfairBank, workload=calls, invariant=all_money_is_accounted_for)
