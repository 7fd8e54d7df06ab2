"""Pages that a training step has written to are written to again, not asked for anew."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, torch
from heschl.training.memory import keep_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(2**24).add_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
given_back = faults()
keep_memory()
faults()
print(given_back, faults())
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
@pytest.mark.parametrize(("own", "kept"), [({}, True), ({"MALLOC_TOP_PAD_": "0"}, False)])
def test_what_is_freed_is_kept_unless_the_user_sets_malloc(own: dict[str, str], kept: bool) -> None:

    held = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**held, **own}, check=True, capture_output=True, text=True
    )
    before, after = map(int, done.stdout.split())
    pages = 20 * 2**24 * 4 // 4096
    assert before > pages / 2
    # Not none: a small block that comes to lie in a freed large one makes the next large one grow the heap, once.
    assert (after < pages / 4) is kept
