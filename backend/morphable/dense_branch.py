"""The dense volume (F_G of the paper): the lifted views side by side through a 3D U-Net. Off in published weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from backend.morphable.volume_blocks import VolumeBlock

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class DenseBranch(nn.Module):
    """Lifted features of all views (view by view in the channels) to a volume that is added to the mesh's."""

    def __init__(self, inputs: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        a, b, c, d = widths
        block = lambda inputs, outputs, **more: VolumeBlock(inputs, outputs, view=False, **more)  # noqa: E731
        self.init_conv = nn.Conv3d(inputs, a, 3, padding=1)
        self.conv0 = block(a, a)
        self.conv1 = block(a, b, stride=2)
        self.conv2_0, self.conv2_1 = block(b, b), block(b, b)
        self.conv3 = block(b, c, stride=2)
        self.conv4_0, self.conv4_1 = block(c, c), block(c, c)
        self.conv5 = block(c, d, stride=2)
        self.conv6_0, self.conv6_1 = block(d, d), block(d, d)
        self.conv7, self.conv8, self.conv9 = block(d, c, up=True), block(c, b, up=True), block(b, a, up=True)

    def forward(self, x: Float[Tensor, "B C Z Y X"], time: Float[Tensor, "B 256"]) -> Float[Tensor, "B D Z Y X"]:
        fine = self.conv0(self.init_conv(x), time)
        half = self.conv2_1(self.conv2_0(self.conv1(fine, time), time), time)
        quarter = self.conv4_1(self.conv4_0(self.conv3(half, time), time), time)
        x = self.conv6_1(self.conv6_0(self.conv5(quarter, time), time), time)
        x = quarter + self.conv7(x, time)
        x = half + self.conv8(x, time)
        return fine + self.conv9(x, time)
