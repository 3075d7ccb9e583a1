"""People keep their numbers where somebody hides them for a while."""

from __future__ import annotations

import json

import pytest

from framelane.perception.pose_numbers import Numbers

STEP = 1 / 15


def box(x, y=400.0, height=220.0):
    return x - 45, y - height / 2, x + 45, y + height / 2


def walked(numbers, own=0, until=12, pace=160.0, stuck=2):
    """Somebody who walks to the right, and in whose last looks the box stays behind, as where two people cross."""
    for look in range(until):
        x = 100 + pace * STEP * min(look, until - stuck)
        assert numbers.of(look * STEP, [own], [box(x)])[0] == [1]
    return until


def at(look, pace=160.0):
    return 100 + pace * STEP * look


def test_who_comes_out_where_his_pace_takes_him_has_his_number_again():
    numbers = Numbers(1.5)
    look = walked(numbers) + 6
    found, begun = numbers.of(look * STEP, [7], [box(at(look))])
    assert found == [1]
    assert begun == {1}, "the tracker's track is new: its first sight has no number yet"
    assert numbers.of((look + 1) * STEP, [7], [box(at(look + 1))]) == ([1], set())


@pytest.mark.parametrize(
    ("later", "place"),
    [
        (6, box(at(18) + 160)),  # a step too far away
        (6, box(at(18), y=250)),  # above
        (6, box(at(18), height=130)),  # much smaller
        (30, box(at(42))),  # after two seconds
    ],
)
def test_anybody_else_is_somebody_new(later, place):
    numbers = Numbers(1.5)
    look = walked(numbers) + later
    assert numbers.of(look * STEP, [7], [place])[0] == [2]


def test_who_is_still_there_lends_his_number_to_nobody():
    numbers = Numbers(1.5)
    look = walked(numbers, stuck=0)
    assert numbers.of(look * STEP, [0, 5], [box(at(look)), box(at(look) + 10)])[0] == [1, 2]


def test_of_two_strangers_the_nearer_is_the_one_who_was_lost():
    numbers = Numbers(1.5)
    look = walked(numbers) + 6
    assert numbers.of(look * STEP, [7, 8], [box(at(look) + 60), box(at(look))])[0] == [2, 1]


def test_a_tracker_that_comes_back_with_the_old_id_does_not_double_the_number():
    """The old id's track may be taken up again by the tracker for somebody else, while the new one is in the picture."""
    numbers = Numbers(1.5)
    look = walked(numbers) + 6
    numbers.of(look * STEP, [7], [box(at(look))])
    assert numbers.of((look + 1) * STEP, [7, 0], [box(at(look + 1)), box(at(look) - 90)])[0] == [1, 2]


def test_a_cut_and_a_checkpoint():
    numbers, again = Numbers(1.5), Numbers(1.5)
    look = walked(numbers) + 6
    again.restore(json.loads(json.dumps(numbers.snapshot())))
    assert again.of(look * STEP, [7], [box(at(look))]) == numbers.of(look * STEP, [7], [box(at(look))])
    numbers.forget()
    assert numbers.of((look + 1) * STEP, [7], [box(at(look + 1))])[0] == [2]


def test_the_past_is_forgotten():
    numbers = Numbers(1.5)
    for look in range(500):
        numbers.of(look * STEP, [look // 5], [box(100 + 400 * (look // 5))])
    assert len(json.dumps(numbers.snapshot())) < 6000
