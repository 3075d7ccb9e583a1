"""What every test and every process that it starts has in common."""

import os
from functools import cache

import pytest

# What somebody measured on their machine must not decide what a test sees.
os.environ["FRAMELANE_MACHINE"] = ""


def pytest_runtest_setup(item):
    """A test for a card says why it is skipped where there is none; ``make gpu-test`` is then safe to run anywhere."""
    if item.get_closest_marker("gpu") and (reason := _no_card()):
        pytest.skip(reason)


@cache
def _no_card():
    from framelane.gpu import cuda_problem

    return cuda_problem()
