"""Commands are forked from a process that has the imports, for all of this folder."""

import pytest

from support import warm


@pytest.fixture(scope="package", autouse=True)
def _warm():
    with warm.preloaded(warm.MODELS):
        yield
