"""The mouth of an avatar: lips that close, teeth in their gums, a tongue, and the colour of the lining."""

from backend.meshing.lips import close_lips, mouth_interior_colour
from backend.meshing.teeth import teeth
from backend.meshing.tongue import tongue

__all__ = ["close_lips", "mouth_interior_colour", "teeth", "tongue"]
