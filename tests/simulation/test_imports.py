"""The judges of the simulator see what they need, and no more.

``tests/test_layers.py`` checks that no modules of the package import each other in a circle.
"""

from __future__ import annotations

from tests.test_layers import imports_within


def test_judges_know_neither_hosts_nor_the_world() -> None:
    """Judges see the protocols of ``judges.observed``, disks and the clock."""
    allowed = {"disk", "virtual_time"}
    judges = {name: targets for name, targets in imports_within("testing").items() if ".simulation.judges." in name}
    assert len(judges) > 15
    for name, targets in judges.items():
        seen = {target.rpartition(".")[2] for target in targets if ".world." in target or ".clients." in target}
        assert seen <= allowed, name
