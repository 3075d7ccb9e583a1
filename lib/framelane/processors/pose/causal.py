"""Joints smoothed by the One-Euro filter, person by person: for who wants what a live picture would show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from framelane.perception.pose_tracks import LOST_S, Person
from framelane.perception.skeleton import box_of
from framelane.perception.smoothing import OneEuro


class Causal:
    """A One-Euro filter per joint and track.

    Args:
        min_cutoff: Hz of a joint at rest.
        beta: Hz by which the cutoff rises with a body height a second.
    """

    def __init__(self, min_cutoff: float, beta: float) -> None:
        self.min_cutoff, self.beta = min_cutoff, beta
        self.filters: dict[tuple[int, int], OneEuro] = {}

    def update(self, people: list[Person], time: float, *, cut: bool) -> list[Person]:
        """The people of the next frame, smoothed; a joint that is not there begins anew when it is back."""
        if cut:
            self.filters = {}
        done = []
        for person in people:
            x1, y1, x2, y2 = box_of(person.joints[:, :3])
            height = max(float(x2 - x1), float(y2 - y1), 1.0)
            joints = person.joints.copy()
            for joint in range(len(joints)):
                key = person.track, joint
                if joints[joint, 2] <= 0:
                    self.filters.pop(key, None)
                    continue
                known = self.filters.setdefault(key, OneEuro(self.min_cutoff, self.beta))
                joints[joint, :2] = known(joints[joint, :2], time, height)
            done.append(replace(person, joints=joints))
        self.filters = {
            key: known for key, known in self.filters.items() if known.last_s is None or time - known.last_s <= LOST_S
        }
        return done

    def snapshot(self) -> list[Any]:
        """The state as plain data."""
        return [[*key, known.to_json()] for key, known in self.filters.items()]

    def restore(self, state: list[Any]) -> None:
        """Take over a snapshot."""
        self.filters = {}
        for track, joint, known in state:
            self.filters[track, joint] = OneEuro(self.min_cutoff, self.beta)
            self.filters[track, joint].take(known)
