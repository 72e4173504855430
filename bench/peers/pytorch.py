"""The training step of the first perceptron in PyTorch eager: times it, or says where it differs from a file.

Takes one JSON object as its argument and prints the answer:
  {"task": "version"} -> {"version": …}
  {"task": "time", "method": …, "threads": …, "repeats": …, "blocks": …} -> [{"times": [ms], "product": [ms, ms]}]
  {"task": "compare", "file": …, "method": …, "lr": …} -> {"loss": …, "parameters": …}, relative differences
"""

import json
import statistics
import sys
import time

import torch
from torch import nn

LAYERS = (784, 1024, 200, 100, 10)
BATCH = 100
WARM_UP = 20

OPTIMIZERS = {
    "plain": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr),
    "momentum": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9, dampening=0.9),
    "adam": lambda parameters, lr: torch.optim.Adam(parameters, lr=lr),
}


def make_model():
    """784-1024-200-100-10 with tanh and a log-softmax."""
    modules = []
    for narrow, wide in zip(LAYERS, LAYERS[1:]):
        modules += [nn.Linear(narrow, wide), nn.Tanh()]
    return nn.Sequential(*modules[:-1], nn.LogSoftmax(1))


def step(model, optimizer, x, y):
    """One training step; returns the loss before it."""
    optimizer.zero_grad()
    loss = nn.functional.nll_loss(model(x), y)
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


def measure(method, threads, repeats, blocks):
    """Times blocks of steps, and before and after each PyTorch's own product of two matrices of 1024²."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = make_model()
    optimizer = OPTIMIZERS[method](model.parameters(), 1e-6)
    x, y = torch.randn(BATCH, LAYERS[0]), torch.randint(0, LAYERS[-1], (BATCH,))

    def one():
        # Reading the loss, as a training loop that shows it does.
        return step(model, optimizer, x, y).item()

    timed(one, WARM_UP)
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    measured = []
    for _ in range(blocks):
        before = look(a, b)
        times = timed(one, repeats)
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


def relative(found, expected):
    """The length of the difference, relative to that of what is expected."""
    return ((found - expected).norm() / expected.norm()).item()


def compare(file, method, lr):
    """Takes the file's steps from the file's start, and compares the losses and the moves of the parameters."""
    tensors = read_safetensors(file)
    model = make_model()
    optimizer = OPTIMIZERS[method](model.parameters(), lr)
    # Every second module of the sequence has parameters.
    parameters = {f"layers.{int(n.split('.')[0]) // 2}.{n.split('.')[1]}": p for n, p in model.named_parameters()}
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"start:{name}"])
    expected = tensors["losses"]
    losses = [step(model, optimizer, tensors["x"], tensors["y"].long()).item() for _ in expected]
    moves = [
        relative(tensors[f"end:{name}"] - tensors[f"start:{name}"], parameter.detach() - tensors[f"start:{name}"])
        for name, parameter in parameters.items()
    ]
    return {"loss": relative(expected, torch.tensor(losses)), "parameters": max(moves)}


def main(request):
    task = request.pop("task")
    return {"version": lambda: {"version": torch.__version__}, "time": measure, "compare": compare}[task](**request)


print(json.dumps(main(json.loads(sys.argv[1]))))
