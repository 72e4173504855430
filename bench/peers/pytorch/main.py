"""Measures PyTorch: a step or a summary, the same as ours, from the same file.

Takes one JSON object as its argument and prints the answer as its last line:
  {"work": "version"} -> {"version": …, "compiler": … or null}
  a PeerRequest of request.ts -> a Measurement, and the results in the file named by "found"
"""

import ctypes
import json
import math
import mmap
import os
import resource
import shutil
import statistics
import sys
import time

import torch
from models import MODELS
from summaries import WAYS
from torch.func import functional_call
from torch.nn.functional import log_softmax, nll_loss

STEPS = 3
# So small that no run ends elsewhere than it began.
LR = 1e-6

OPTIMIZERS = {
    "plain": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr),
    "momentum": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9, dampening=0.9),
    "adam": lambda parameters, lr: torch.optim.Adam(parameters, lr=lr),
}


def make_step(request, given):
    """A training step, and what some of them find."""
    model = MODELS[request["model"]]()
    model.load_state_dict(named("p:", given))
    optimizer = OPTIMIZERS[request["method"]](model.parameters(), request["lr"])
    compiled = torch.compile if request["way"] == "compiled" else lambda function: function

    @compiled
    def loss_of(x, y):
        return nll_loss(log_softmax(model(x), 1), y)

    update = compiled(optimizer.step)
    x, y = given["x"], given["y"].flatten()

    def step():
        optimizer.zero_grad()
        loss = loss_of(x, y)
        loss.backward()
        update()
        # Reading the loss, as a training loop that shows it does.
        return loss.item()

    def find():
        losses = torch.tensor([step() for _ in range(STEPS)])
        state = {f"p:{name}": value for name, value in model.state_dict().items()}
        for group in optimizer.param_groups:
            group["lr"] = LR
        return {"losses": losses, **state}

    return step, find


def make_summary(request, given):
    """A summary, which is also what it finds."""
    model = MODELS[request["model"]]()
    parameters, directions, groups = named("p:", given), named("u:", given), given["groups"]
    x, y = given["x"], given["y"]

    def phi(etas):
        moved = {name: parameters[name] + etas[s] * directions[name] for s, name in enumerate(groups)}
        return nll_loss(log_softmax(functional_call(model, moved, (x,)), 1), y)

    def summary():
        return dict(zip(("g", "H", "order3"), WAYS[request["way"]](phi, len(groups))))

    return summary, summary


def named(prefix, tensors):
    """The tensors whose names begin so, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def timed(run, repeats):
    """The time of each run in ms, and what the last one returned."""
    times, found = [], None
    for _ in range(repeats):
        begun = time.perf_counter()
        found = run()
        times.append((time.perf_counter() - begun) * 1e3)
    return times, found


def measure(request):
    """Computes the results, and times blocks of runs, before and after each PyTorch's own product of two matrices of 1024²."""
    torch.set_num_threads(request["threads"])
    resource.setrlimit(resource.RLIMIT_DATA, (request["memory"], request["memory"]))
    before = resident("VmRSS")
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)

    def look():
        return statistics.mean(timed(lambda: a @ b, 8)[0][1:])

    run, find = {"step": make_step, "summary": make_summary}[request["work"]](request, read(request["given"]))
    looked = look()
    first, found = timed(find, 1)
    write(request["found"], found)
    if request["warmUp"] == 0:
        blocks = [{"times": first, "product": [looked, look()]}]
        return {"blocks": blocks, "residentBefore": before, "residentPeak": resident("VmHWM")}
    timed(run, request["warmUp"] - 1)
    peak = resident("VmHWM")
    blocks = []
    for _ in range(request["blocks"]):
        looked = look()
        times, _ = timed(run, request["repeats"])
        blocks.append({"times": times, "product": [looked, look()]})
    return {"blocks": blocks, "residentBefore": before, "residentPeak": peak}


def resident(field):
    """Bytes, now or at most; where there is no /proc, at most."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


DTYPES = {"F32": torch.float32, "F64": torch.float64, "I32": torch.int32, "I64": torch.int64}


def read(path):
    """The tensors of a safetensors file, whole numbers as int64, and the groups of its notes."""
    with open(path, "rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    tensors = {"groups": json.loads(header.pop("__metadata__")["groups"])}
    for name, entry in header.items():
        shape, dtype, at = entry["shape"], DTYPES[entry["dtype"]], start + entry["data_offsets"][0]
        tensor = torch.frombuffer(data, dtype=dtype, count=math.prod(shape), offset=at).reshape(shape)
        tensors[name] = tensor if tensor.is_floating_point() else tensor.long()
    return tensors


def write(path, tensors):
    """Writes tensors as a safetensors file."""
    header, at = {}, 0
    dtypes = {dtype: name for name, dtype in DTYPES.items()}
    for name, tensor in tensors.items():
        offsets = [at, at + tensor.nbytes]
        header[name] = {"dtype": dtypes[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        at += tensor.nbytes
    encoded = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for tensor in tensors.values():
            kept = tensor.detach().contiguous()
            file.write(ctypes.string_at(kept.data_ptr(), kept.nbytes))


def version(_):
    candidates = (os.environ.get("CXX"), "g++", "clang++")
    found = (shutil.which(candidate) for candidate in candidates if candidate)
    return {"version": torch.__version__, "compiler": next(filter(None, found), None)}


request = json.loads(sys.argv[1])
try:
    print(json.dumps((version if request["work"] == "version" else measure)(request)))
except (MemoryError, RuntimeError) as error:
    if "memory" not in str(error) and not isinstance(error, MemoryError):
        raise
    sys.exit(f"out of memory: {request['memory'] / 1e9:.1f} GB were free")
