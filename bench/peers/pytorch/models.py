"""The models, with the names that their parameters have in grnewt."""

import torch
from torch import nn
from torch.nn.functional import elu, gelu, max_pool2d, scaled_dot_product_attention

CLASSES = 10
VOCABULARY = 65
PLACES = 128
WIDTH = 128


class Perceptron(nn.Module):
    """Linear layers with an activation between them."""

    def __init__(self, widths, activation):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(narrow, wide) for narrow, wide in zip(widths, widths[1:]))
        self.activation = activation

    def forward(self, x):
        *hidden, last = self.layers
        for layer in hidden:
            x = self.activation(layer(x))
        return last(x)


class LeNet(nn.Module):
    """Two convolutions with tanh and maxima, three linear layers, for images of 3 × 32 × 32."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, CLASSES)

    def forward(self, x):
        x = max_pool2d(self.conv1(x).tanh(), 2)
        x = max_pool2d(self.conv2(x).tanh(), 2)
        return self.fc3(self.fc2(self.fc1(x.flatten(1)).tanh()).tanh())


class VGG(nn.Module):
    """Configuration A with ELU and one linear layer, for images of 3 × 32 × 32."""

    def __init__(self):
        super().__init__()
        layers, channels = [], 3
        for entry in (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"):
            if entry == "M":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(channels, entry, 3, padding=1), nn.ELU()]
                channels = entry
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Linear(channels, CLASSES))

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class BasicBlock(nn.Module):
    """Two convolutions of 3 × 3 beside a shortcut."""

    def __init__(self, narrow, wide, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(narrow, wide, 3, stride, 1, bias=False), nn.BatchNorm2d(wide)
        self.conv2, self.bn2 = nn.Conv2d(wide, wide, 3, 1, 1, bias=False), nn.BatchNorm2d(wide)
        self.downsample = None
        if stride != 1 or narrow != wide:
            self.downsample = nn.Sequential(nn.Conv2d(narrow, wide, 1, stride, bias=False), nn.BatchNorm2d(wide))

    def forward(self, x):
        inner = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (inner + (self.downsample(x) if self.downsample else x)).relu()


class ResNet18(nn.Module):
    """With a stem of 3 × 3 for images of 3 × 32 × 32."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64)
        narrow = 64
        for i, wide in enumerate((64, 128, 256, 512)):
            blocks = nn.Sequential(BasicBlock(narrow, wide, 2 if i > 0 else 1), BasicBlock(wide, wide, 1))
            self.add_module(f"layer{i + 1}", blocks)
            narrow = wide
        self.fc = nn.Linear(narrow, CLASSES)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


class Attention(nn.Module):
    """Causal attention of 4 heads, with the parameters of nn.MultiheadAttention."""

    def __init__(self):
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.randn(3 * WIDTH, WIDTH) * 0.02)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * WIDTH))
        self.out_proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        joined = nn.functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = joined.unflatten(2, (3, 4, WIDTH // 4)).permute(2, 0, 3, 1, 4)
        seen = scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(seen.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and a perceptron, each behind a norm and beside a shortcut."""

    def __init__(self):
        super().__init__()
        self.ln1, self.attn = nn.LayerNorm(WIDTH), Attention()
        self.ln2, self.fc1, self.fc2 = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        x = x + self.attn(self.ln1(x))
        return x + self.fc2(gelu(self.fc1(self.ln2(x))))


class Transformer(nn.Module):
    """A decoder of 4 blocks with tied embeddings; one row of scores for each place of each text."""

    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(PLACES, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(4)))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x):
        x = self.norm(self.blocks(self.tokens(x) + self.positions.weight))
        return nn.functional.linear(x, self.tokens.weight).flatten(0, 1)


MODELS = {
    "shallow": lambda: Perceptron((784, 1024, 200, 100, CLASSES), torch.tanh),
    "deep": lambda: Perceptron((3072, *[1024] * 20, CLASSES), elu),
    "lenet": LeNet,
    "vgg-a": VGG,
    "resnet18": ResNet18,
    "transformer": Transformer,
}
