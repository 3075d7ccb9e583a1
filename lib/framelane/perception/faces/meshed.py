"""A finder without a mesh, with the embedded one on its faces."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from framelane.models import catalog, store
from framelane.perception.faces.base import Face, FaceFinder
from framelane.perception.faces.mesh import FaceMesh

if TYPE_CHECKING:
    import torch


class Meshed(FaceFinder):
    """The faces of another finder, each with the 468 points that masks and the ``warp`` swapper need.

    Args:
        inner: finds faces; who they are and how old they look is taken from it.
        device: ``"cpu"`` or ``"cuda"``.
        threads: threads on the CPU; 0 is the number of cores.
    """

    def __init__(self, inner: FaceFinder, *, device: str = "cpu", threads: int = 0) -> None:
        self.inner, self.mesh = inner, FaceMesh(device=device, threads=threads)
        self.tells_who, self.tells_age = inner.tells_who, inner.tells_age
        name = "face_mesh"
        entry = {"name": name, "sha256": store.digest(name), "licence": catalog.get(name).licence}
        self.models = [*inner.models, {**entry, "provider": self.mesh.provider}]
        self.downgrade = self.mesh.downgrade

    def find(self, rgb: torch.Tensor) -> list[list[Face]]:
        """See :meth:`FaceFinder.find`; the five points stay those of the inner finder, which its networks were made for."""
        return [
            [self._meshed(frame, face) for face in faces]
            for frame, faces in zip(rgb, self.inner.find(rgb), strict=True)
        ]

    def _meshed(self, frame: torch.Tensor, face: Face) -> Face:
        mesh, presence = self.mesh.locate(frame, face.box, face.points)
        return replace(face, mesh=mesh, presence=presence)

    def close(self) -> None:
        """Release both."""
        self.inner.close()
