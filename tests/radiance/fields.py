"""Fields with known answers."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch

from backend.radiance.decoder import CLASSES, Decoder, DecoderConfig
from backend.radiance.triplane import TriPlane


def uniform(density: float, colour=(0.2, 0.5, 0.9), half_size: float = 0.25) -> TriPlane:
    """A real tri-plane of one density (1/m) and colour in the whole cube: the decoder answers with its biases."""
    config = DecoderConfig()
    decoder = Decoder(config).requires_grad_(False)
    for parameter in decoder.parameters():
        parameter.zero_()
    decoder.geometry_out.bias[0] = math.log(math.expm1(density * half_size * config.occupancy_length))
    decoder.colour_layers[-1].bias.copy_(torch.logit(torch.tensor(colour)))
    return TriPlane(torch.zeros(3, config.channels, 8, 8), decoder, half_size)


@dataclasses.dataclass
class Shape(TriPlane):
    """Matter of constant density inside of a signed distance function, coloured by position."""

    distance: object = None
    matter: float = 1e4

    def density(self, points):
        return self.matter * (self.distance(points) < 0).float()

    def colour_and_density(self, points):
        return (points / self.half_size + 1).clamp(0, 2) / 2, self.density(points)


def shape(distance, matter: float = 1e4) -> Shape:
    empty = uniform(1e-6)
    return Shape(empty.planes, empty.decoder, empty.half_size, distance=distance, matter=matter)


def sphere(radius: float = 0.12, centre=(0.03, -0.02, 0.04), matter: float = 1e4) -> Shape:
    return shape(lambda p: (p - torch.tensor(centre)).norm(dim=-1) - radius, matter)


def sphere_hits(camera, radius: float = 0.12, centre=(0.03, -0.02, 0.04)):
    """Planar depth where each pixel's ray enters and leaves the sphere (NaN where it misses), and the chord length."""
    origin, directions = camera.rays()
    a = (directions**2).sum(-1)
    b = directions @ (origin - np.array(centre))
    c = ((origin - np.array(centre)) ** 2).sum() - radius**2
    with np.errstate(invalid="ignore"):
        root = np.sqrt(b**2 - a * c)
    enter, leave = (-b - root) / a, (-b + root) / a
    return enter, leave, (leave - enter) * np.sqrt(a)


def made_of(*names: str, light: float = 0.0) -> TriPlane:
    """A solid field whose decoder is sure that it is made of `names`, in equal parts; grey, or more or less `light`."""
    config = DecoderConfig(classes=len(CLASSES))
    decoder = Decoder(config).requires_grad_(False)
    for parameter in decoder.parameters():
        parameter.zero_()
    decoder.geometry_out.bias[0] = 6.0
    logits = torch.full((len(CLASSES),), -20.0)
    logits[[CLASSES.index(name) for name in names]] = 5.0
    decoder.colour_layers[-1].bias[:3] = light
    decoder.colour_layers[-1].bias[3:] = logits
    return TriPlane(torch.zeros(3, config.channels, 8, 8), decoder)
