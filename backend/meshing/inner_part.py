"""What sits inside a head or on its lids: a textured mesh that rides on the body."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from numpy import ndarray

    from backend.meshing.mesh import Mesh
    from backend.rigging.attach import Attachment
    from backend.rigging.avatar import Material


@dataclasses.dataclass(frozen=True)
class InnerPart:
    """One object before it is rigged: `attachment` says which body vertices each vertex of `mesh` follows."""

    name: str
    mesh: Mesh
    texture: UInt8[ndarray, "H W C"]
    material: Material
    attachment: Attachment
