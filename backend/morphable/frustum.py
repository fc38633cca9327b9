"""What lies in front of one camera: the conditioning volume in its frustum, at four resolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from backend.morphable.spatial_volume import in_cube, sample_volume
from backend.morphable.volume_blocks import VolumeBlock

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def frustum_volume(
    volume: Float[Tensor, "B C Z Y X"], points: Float[Tensor, "B K D H W 3"]
) -> Float[Tensor, "B*K C D H W"]:
    """The volume at the points of K frusta of each scene (`Views.frustum_points`), zero outside the cube."""
    count, shape = points.shape[1], points.shape[2:5]
    samples = sample_volume(volume, in_cube(points.flatten(1, 4)))
    return samples.unflatten(2, (count, *shape)).transpose(1, 2).flatten(0, 1)


class FrustumNet(nn.Module):
    """A 3D U-Net of `widths`; its decoder's features steer the U-Net that draws the view."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        a, b, c, d = widths
        self.conv0 = nn.Conv3d(a, a, 3, padding=1)
        self.conv1, self.conv2 = VolumeBlock(a, b, stride=2), VolumeBlock(b, b)
        self.conv3, self.conv4 = VolumeBlock(b, c, stride=2), VolumeBlock(c, c)
        self.conv5, self.conv6 = VolumeBlock(c, d, stride=2), VolumeBlock(d, d)
        self.up0, self.up1, self.up2 = (
            VolumeBlock(d, c, up=True),
            VolumeBlock(c, b, up=True),
            VolumeBlock(b, a, up=True),
        )

    def forward(
        self, x: Float[Tensor, "B C D H W"], time: Float[Tensor, "B 256"], view: Float[Tensor, "B 4"]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features at full, half, quarter and eighth size (the last one is the bottleneck)."""
        fine = self.conv0(x)
        half = self.conv2(self.conv1(fine, time, view), time, view)
        quarter = self.conv4(self.conv3(half, time, view), time, view)
        eighth = self.conv6(self.conv5(quarter, time, view), time, view)
        quarter = quarter + self.up0(eighth, time, view)
        half = half + self.up1(quarter, time, view)
        fine = fine + self.up2(half, time, view)
        return fine, half, quarter, eighth
