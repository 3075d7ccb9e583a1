"""Drawing on frames where they lie: small annotators that compose, on a CPU or a CUDA device.

A frame is a ``torch.uint8`` tensor ``(3, H, W)``, planar RGB. Annotators change it in place and return it; the same
input gives the same bytes. What must be drawn by the CPU (text, trails) is drawn small and composited on the device.

**The balance rule.** Inside a tracked object's box, every pixel that no line, label or legend covers keeps at least
half of its own contrast: shadow and tint together satisfy ``(1 - a_shadow) * (1 - a_tint) >= 0.5``. The tint is laid
on a pixel once, however many boxes overlap there, and :func:`balanced_alpha` caps the shadow to what the tint leaves.
Where objects have attention of their own, :class:`ObjectShadow` takes the tint's place, pixel by pixel.
Outside every box the shadow's opacity is at most the one given (``attention.alpha``).

The order that keeps the rule and reads best: :func:`shadow`, :class:`ObjectShadow`, :class:`Boxes`, :class:`Trails`,
:class:`Labels`, :class:`Legend`.
"""

from framelane.overlay.blend import balanced_alpha, paste, shadow, stamp
from framelane.overlay.boxes import Boxes
from framelane.overlay.labels import Labels
from framelane.overlay.legend import Legend
from framelane.overlay.marks import RGB, Mark, parse_colour, shade
from framelane.overlay.objects import ObjectShadow, Weight
from framelane.overlay.skeletons import Figure, Skeletons
from framelane.overlay.trails import Trails

__all__ = [
    "RGB",
    "Boxes",
    "Figure",
    "Labels",
    "Legend",
    "Mark",
    "ObjectShadow",
    "Skeletons",
    "Trails",
    "Weight",
    "balanced_alpha",
    "parse_colour",
    "paste",
    "shade",
    "shadow",
    "stamp",
]
