"""The fixtures of ``support.swaps`` for all tests of this folder."""

from support.swaps import own_state, place  # noqa: F401
