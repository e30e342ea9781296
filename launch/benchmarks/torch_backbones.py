"""The backbones in PyTorch, with torchvision's names: peers in benchmarks and in tests."""

from torch import Tensor, nn
from torch.nn import functional

from classify.backbones.resnet import ResNet


class Block(nn.Module):
    """A residual block; see `resnet.Block` of `classify.backbones`."""

    def __init__(self, channels: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        outputs = 4 * width if bottleneck else width
        if bottleneck:
            layers = [(channels, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)]
        else:
            layers = [(channels, width, 3, stride), (width, width, 3, 1)]
        for number, (inside, outside, size, step) in enumerate(layers, start=1):
            convolution = nn.Conv2d(inside, outside, size, step, padding=size // 2, bias=False)
            setattr(self, f"conv{number}", convolution)
            setattr(self, f"bn{number}", nn.BatchNorm2d(outside))
        self.count = len(layers)
        self.downsample = nn.Sequential()
        if stride > 1 or channels != outputs:
            self.downsample.append(nn.Conv2d(channels, outputs, 1, stride, bias=False))
            self.downsample.append(nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H', W')."""
        y = x
        for number in range(1, self.count + 1):
            y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y))
            y = functional.relu(y) if number < self.count else y
        return functional.relu(y + self.downsample(x))


class TorchResNet(nn.Module):
    """A residual network up to its pooled features, of the same layout as one of ours."""

    def __init__(self, ours: ResNet) -> None:
        super().__init__()
        size = 3 if ours.small_stem else 7
        channels = ours.width
        self.conv1 = nn.Conv2d(3, channels, size, 2, padding=size // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.pool = nn.Identity() if ours.small_stem else nn.MaxPool2d(3, 2, 1)
        self.stages = len(ours.depths)
        for stage, depth in enumerate(ours.depths):
            blocks = nn.Sequential()
            for number in range(depth):
                stride = 2 if stage > 0 and number == 0 else 1
                block = Block(channels, ours.width * 2**stage, stride, ours.bottleneck)
                blocks.append(block)
                channels = ours.width * 2**stage * (4 if ours.bottleneck else 1)
            setattr(self, f"layer{stage + 1}", blocks)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, features)."""
        x = self.pool(functional.relu(self.bn1(self.conv1(x))))
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return x.mean((2, 3))


def alexnet() -> nn.Sequential:
    """The convolutions of AlexNet; its output is (N, 256, H, W), unpooled."""
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    )
