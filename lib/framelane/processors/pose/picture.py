"""What the pose processor draws: skeletons, the people's numbers, and the legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from framelane.overlay import RGB, Figure, Labels, Legend, Mark, Skeletons, parse_colour
from framelane.perception.pose_tracks import Person
from framelane.perception.skeleton import Side, arranged, box_of, limbs, names, side
from framelane.sections.pose import PoseSettings

if TYPE_CHECKING:
    import torch


class Picture:
    """Draws one frame after another.

    Args:
        options: colours, opacities and what is wanted.
        frame: (height, width) in pixels as displayed.
        model: what finds the joints, for the legend.
    """

    def __init__(self, options: PoseSettings, frame: tuple[int, int], model: str) -> None:
        self.options, self.frame = options, frame
        self.colours: dict[Side, RGB] = {
            "left": parse_colour(options.left_colour),
            "right": parse_colour(options.right_colour),
            "middle": parse_colour(options.middle_colour),
        }
        order = names(options.layout)
        self.limbs = limbs(options.layout)
        self.limb_colours = [self.colours[side(order[one], order[other])] for one, other in self.limbs]
        self.joint_colours = [self.colours[side(name)] for name in order]
        self.skeletons = Skeletons(options.opacity)
        self.legend = Legend("pose", f"{model} · {options.tracker} · {options.smoothing}\ndashed: bridged, not seen")

    def draw(self, rgb: torch.Tensor, people: Sequence[Person]) -> torch.Tensor:
        """Draw on a copy of a frame, uint8 (3, H, W)."""
        out = rgb.clone()
        figures = [
            Figure(arranged(person.joints, self.options.layout), self.limbs, self.limb_colours, self.joint_colours)
            for person in people
        ]
        self.skeletons.annotate(out, figures)
        self._words(out, people)
        return out

    def _words(self, out: torch.Tensor, people: Sequence[Person]) -> None:
        height, width = self.frame
        sides = [("left", self.colours["left"]), ("right", self.colours["right"])]
        left, top, right, bottom = self.legend.rect(width, height, sides)
        fits = self.options.legend and left >= 0 and top >= 0 and right <= width and bottom <= height
        if self.options.labels:
            marks = [self._mark(person) for person in people]
            Labels([(left, top, right, bottom)] if fits else []).annotate(out, marks)
        if fits:
            self.legend.annotate(out, sides)

    def _mark(self, person: Person) -> Mark:
        x1, y1, x2, y2 = box_of(person.joints[:, :3], margin=0.06).tolist()
        there = person.joints[:, 2] > 0
        strength = float(np.clip(0.5 + 0.5 * person.joints[there, 2].mean() / 0.5, 0, 1))
        return Mark((x1, y1, x2, y2), self.colours["middle"], f"person {person.track}", strength=strength)
