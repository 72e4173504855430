"""Training steps in PyTorch eager: times them, or says where they differ from a file.

Takes one JSON object as its argument and prints the answer:
  {"task": "version"} -> {"version": …}
  {"task": "time", "request": {…}} -> [{"times": [ms], "product": [ms, ms]}], the request being that of request.ts
  {"task": "compare", "file": …, "model": …, "method": …, "lr": …} -> {"loss": …, "moves": …}, relative differences
"""

import json
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn.functional import gelu, log_softmax, max_pool2d, nll_loss, scaled_dot_product_attention

CLASSES = 10
VOCABULARY = 65
PLACES = 128
WIDTH = 128


class Perceptron(nn.Module):
    """784-1024-200-100-10 with tanh."""

    def __init__(self):
        super().__init__()
        widths = (784, 1024, 200, 100, CLASSES)
        self.layers = nn.ModuleList(nn.Linear(narrow, wide) for narrow, wide in zip(widths, widths[1:]))

    def forward(self, x):
        *hidden, last = self.layers
        for layer in hidden:
            x = layer(x).tanh()
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


def labelled(*shape):
    """Makes batches of noise with classes."""
    return lambda samples: (torch.randn(samples, *shape), torch.randint(0, CLASSES, (samples,)))


def texts(samples):
    """A batch of tokens and the tokens that follow them."""
    return torch.randint(0, VOCABULARY, (2, samples, PLACES)).unbind()


MODELS = {
    "shallow": (Perceptron, labelled(784)),
    "lenet": (LeNet, labelled(3, 32, 32)),
    "vgg-a": (VGG, labelled(3, 32, 32)),
    "resnet18": (ResNet18, labelled(3, 32, 32)),
    "transformer": (Transformer, texts),
}

OPTIMIZERS = {
    "plain": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr),
    "momentum": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9, dampening=0.9),
    "adam": lambda parameters, lr: torch.optim.Adam(parameters, lr=lr),
}


def step(model, optimizer, x, y):
    """One training step; returns the loss before it."""
    optimizer.zero_grad()
    loss = nll_loss(log_softmax(model(x), 1), y.flatten())
    loss.backward()
    optimizer.step()
    return loss


def timed(run, repeats):
    """The time of each run in ms."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        run()
        times.append((time.perf_counter() - begun) * 1e3)
    return times


def look(a, b):
    """The median time of some products in ms, the first one not counted."""
    return statistics.median(timed(lambda: a @ b, 8)[1:])


def measure(request):
    """Times blocks of steps, and before and after each PyTorch's own product of two matrices of 1024²."""
    torch.set_num_threads(request["threads"])
    torch.manual_seed(0)
    make_model, make_batch = MODELS[request["model"]]
    model = make_model()
    optimizer = OPTIMIZERS[request["method"]](model.parameters(), 1e-6)
    x, y = make_batch(request["batch"])

    def one():
        # Reading the loss, as a training loop that shows it does.
        return step(model, optimizer, x, y).item()

    timed(one, request["warmUp"])
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    measured = []
    for _ in range(request["blocks"]):
        before = look(a, b)
        times = timed(one, request["repeats"])
        measured.append({"times": times, "product": [before, look(a, b)]})
    return measured


def read_safetensors(path):
    """The float32 and int32 tensors of a safetensors file."""
    with open(path, "rb") as file:
        data = bytearray(file.read())
    start = 8 + int.from_bytes(data[:8], "little")
    dtypes = {"F32": torch.float32, "I32": torch.int32}
    tensors = {}
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            raw = data[start + begin : start + end]
            tensors[name] = torch.frombuffer(raw, dtype=dtypes[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def relative(found, expected, rounding=0.0):
    """The length of the difference beyond that of a rounding, relative to the length of what is expected."""
    return (((found - expected).norm() - rounding).clamp(min=0) / expected.norm()).item()


def compare(file, model, method, lr):
    """Takes the file's steps in float64 from the file's start; compares losses and moves of parameters and buffers."""
    torch.set_default_dtype(torch.float64)
    tensors = {n: t.double() if t.is_floating_point() else t.long() for n, t in read_safetensors(file).items()}
    start, end = ({n[len(p) :]: t for n, t in tensors.items() if n.startswith(p)} for p in ("start:", "end:"))
    module = MODELS[model][0]()
    module.load_state_dict(start)
    optimizer = OPTIMIZERS[method](module.parameters(), lr)
    expected = [step(module, optimizer, tensors["x"], tensors["y"]).item() for _ in tensors["losses"]]

    def difference(name, value):
        # Each step rounds each entry to float32.
        rounding = len(expected) * 2**-24 * start[name].norm()
        return relative(end[name] - start[name], value - start[name], rounding)

    moves = [difference(name, value) for name, value in module.state_dict().items()]
    return {"loss": relative(tensors["losses"], torch.tensor(expected)), "moves": max(moves)}


def main(request):
    task = request.pop("task")
    return {"version": lambda: {"version": torch.__version__}, "time": measure, "compare": compare}[task](**request)


print(json.dumps(main(json.loads(sys.argv[1]))))
