"""What hlsim needs of an operating system to be imported and to run: nothing that only Unix has."""

import subprocess
import sys

from hlsim.simulation import watch
from tests.support.places import ROOT

UNIX_ONLY = (
    "crypt",
    "fcntl",
    "grp",
    "nis",
    "pty",
    "pwd",
    "readline",
    "resource",
    "spwd",
    "syslog",
    "termios",
    "tty",
)


def test_no_module_needs_what_only_unix_has() -> None:
    """And a run is recorded; its log says that the memory is not known."""
    code = f"""
import sys
sys.modules.update(dict.fromkeys({UNIX_ONLY}))  # None: cannot be imported
import importlib, pkgutil
import hlsim
for module in pkgutil.walk_packages(hlsim.__path__, "hlsim."):
    if module.name != "hlsim.__main__":
        importlib.import_module(module.name)
hlsim.simulation.watch.PULSE_S = 0.0
trace = hlsim.Simulation(hlsim.topology.ring(3), loss=None).run(until=20, every=5)
assert trace["log/memory_bytes"].tolist() == [0] * len(trace["log/tick"]) != []
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_memory_of_the_process_is_told_where_it_is_known() -> None:
    """At least what 50 MB of memory in use say, at most that of a large machine; it never falls."""
    before = watch.memory_bytes()
    held = bytearray(50_000_000)
    after = watch.memory_bytes()
    assert before <= after
    assert len(held) < after < 2**40
