"""What every test and every process that it starts has in common."""

import os
import sys
from functools import cache

import pytest

# What somebody measured on their machine must not decide what a test sees.
os.environ["FRAMELANE_MACHINE"] = ""

# Hundreds of processes are started: where no bytecode may be kept, each of them would compile the package again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_collection_modifyitems(items):
    """The many short files come last: of the processes that share the files, none then waits long for a long one."""
    items.sort(key=lambda item: item.path.parent.name == "unit")


def pytest_runtest_setup(item):
    """A test for a card says why it is skipped where there is none; ``make gpu-test`` is then safe to run anywhere."""
    if item.get_closest_marker("gpu") and (reason := _no_card()):
        pytest.skip(reason)


@cache
def _no_card():
    from framelane.gpu import cuda_problem

    return cuda_problem()
