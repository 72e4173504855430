"""Writes test/golden/optimizers.json: where optimisers lead on a small problem, in float64.

Run it with a Python that has PyTorch and NumPy: python scripts/optimizer-values.py

PyTorch's own optimisers give their values. What PyTorch does not have is transcribed from the papers' pseudo-code below.
Muon is PyTorch's, but for its bfloat16, in place of which it runs in float64 here.
"""

import json
import math
from pathlib import Path

import torch
from torch.optim.lbfgs import _strong_wolfe

STEPS = (1, 2, 10)
torch.set_default_dtype(torch.float64)


def grid(rows, columns, start):
    return torch.tensor([[math.sin(start + 3 * i + j * j) for j in range(columns)] for i in range(rows)])


X, Y = grid(5, 3, 1), grid(5, 2, 2)
START = {"w": 0.8 * grid(4, 3, 3), "v": 0.6 * grid(2, 4, 4), "b": grid(1, 2, 5)[0]}


def loss_of(p):
    return ((torch.tanh(X @ p["w"].T) @ p["v"].T + p["b"] - Y) ** 2).mean()


def fresh():
    return {name: value.clone().requires_grad_() for name, value in START.items()}


def gradients(p):
    for value in p.values():
        value.grad = None
    loss_of(p).backward()
    return {name: value.grad for name, value in p.items()}


def listed(p):
    return {name: value.detach().reshape(-1).tolist() for name, value in p.items()}


def path(p, step):
    """What the parameters are after some of the steps; `step` may return others to record beside them."""
    found = []
    for number in range(1, STEPS[-1] + 1):
        besides = step(number)
        if number in STEPS:
            found.append({"parameters": listed(p), **(besides or {})})
    return found


def camel(name):
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def run(updater, lr, options, steps):
    return {"updater": updater, "lr": lr, "options": {camel(k): v for k, v in options.items()}, "path": steps}


def torch_run(kind, lr, **options):
    p = fresh()
    optimizer = getattr(torch.optim, kind)(p.values(), lr=lr, **options)

    def step(_):
        gradients(p)
        optimizer.step()

    return run(kind, lr, options, path(p, step))


def muon_run(lr, others=None, **options):
    """Muon for the matrices, AdamW with options of its own for the vector."""
    p, bfloat16 = fresh(), torch.bfloat16
    matrices = torch.optim.Muon([p["w"], p["v"]], lr=lr, **options)
    rest = torch.optim.AdamW([p["b"]], lr=lr, **(others or {}))

    def step(_):
        gradients(p)
        rest.step()
        torch.bfloat16 = torch.float64
        matrices.step()
        torch.bfloat16 = bfloat16

    found = run("Muon", lr, options, path(p, step))
    return {**found, "others": {camel(k): v for k, v in (others or {}).items()}}


def lbfgs_run(lr, **options):
    p = fresh()
    optimizer = torch.optim.LBFGS(p.values(), lr=lr, line_search_fn="strong_wolfe", **options)

    def closure():
        optimizer.zero_grad()
        loss = loss_of(p)
        loss.backward()
        return loss

    return run("LBFGS", lr, options, path(p, lambda _: optimizer.step(closure) and None))


def lion(lr, betas=(0.9, 0.99), weight_decay=0.0, **given):
    """Algorithm 2 of Chen et al., Symbolic Discovery of Optimization Algorithms, arXiv 2302.06675."""
    p, m = fresh(), {name: torch.zeros_like(value) for name, value in START.items()}

    def step(_):
        for name, g in gradients(p).items():
            with torch.no_grad():
                c = betas[0] * m[name] + (1 - betas[0]) * g
                p[name] -= lr * (torch.sign(c) + weight_decay * p[name])
                m[name] = betas[1] * m[name] + (1 - betas[1]) * g

    return path(p, step)


def schedule_free(lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, warmup_steps=0):
    """Schedule-free AdamW of Defazio et al., The Road Less Scheduled, arXiv 2405.15682. The parameters are y; x is beside."""
    p = fresh()
    x, z = ({name: value.clone() for name, value in START.items()} for _ in range(2))
    v = {name: torch.zeros_like(value) for name, value in START.items()}
    weights = []

    def step(t):
        rate = lr * min(1, t / warmup_steps) if warmup_steps else lr
        weights.append(rate**2)
        c = weights[-1] / sum(weights)
        for name, g in gradients(p).items():
            with torch.no_grad():
                y = p[name]
                v[name] = betas[1] * v[name] + (1 - betas[1]) * g**2
                unbiased = v[name] / (1 - betas[1] ** t)
                z[name] = z[name] - rate * g / (unbiased.sqrt() + eps) - rate * weight_decay * y
                x[name] = (1 - c) * x[name] + c * z[name]
                y.copy_((1 - betas[0]) * z[name] + betas[0] * x[name])
        return {"evaluation": listed(x)}

    return path(p, step)


def prodigy(lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, d0=1e-6):
    """Adam version of Prodigy of Mishchenko and Defazio, arXiv 2306.06101, with decoupled weight decay."""
    p, d, r = fresh(), d0, 0.0
    m, v, s = ({name: torch.zeros_like(value) for name, value in START.items()} for _ in range(3))
    decay = math.sqrt(betas[1])

    def step(_):
        nonlocal d, r
        g = gradients(p)
        with torch.no_grad():
            inner = sum(float((g[name] * (START[name] - p[name])).sum()) for name in p)
            r = decay * r + (1 - decay) * lr * d**2 * inner
            for name in p:
                m[name] = betas[0] * m[name] + (1 - betas[0]) * d * g[name]
                v[name] = betas[1] * v[name] + (1 - betas[1]) * d**2 * g[name] ** 2
                s[name] = decay * s[name] + (1 - decay) * lr * d**2 * g[name]
                p[name] -= lr * d * (m[name] / (v[name].sqrt() + d * eps) + weight_decay * p[name])
            d = max(d, r / sum(float(s[name].abs().sum()) for name in p))

    return path(p, step)


def written(transcription, updater, lr, **options):
    return run(updater, lr, options, transcription(lr, **options))


def runs():
    sgd = lambda **options: torch_run("SGD", 0.1, **options)
    yield sgd()
    yield sgd(momentum=0.9)
    yield sgd(momentum=0.9, dampening=0.9)
    yield sgd(momentum=0.8, nesterov=True, weight_decay=0.1)
    yield sgd(momentum=0.5, dampening=0.2, weight_decay=0.1, maximize=True)
    for kind in ("Adam", "AdamW"):
        adam = lambda **options: torch_run(kind, 0.05, **options)
        yield adam()
        yield adam(betas=(0.5, 0.6), eps=1e-3, weight_decay=0.1)
        yield adam(betas=(0.5, 0.3), amsgrad=True)
        yield adam(weight_decay=0.2, maximize=True)
    rmsprop = lambda **options: torch_run("RMSprop", 0.02, **options)
    yield rmsprop()
    yield rmsprop(alpha=0.9, eps=1e-3, weight_decay=0.1)
    yield rmsprop(alpha=0.8, centered=True)
    yield rmsprop(alpha=0.8, centered=True, momentum=0.7, weight_decay=0.05)
    yield rmsprop(momentum=0.5, maximize=True)
    yield muon_run(0.05)
    yield muon_run(0.05, nesterov=False, weight_decay=0.0, adjust_lr_fn="match_rms_adamw", others={"betas": (0.5, 0.6)})
    yield muon_run(0.05, momentum=0.5, ns_coefficients=(2.0, -1.5, 0.5), ns_steps=3, adjust_lr_fn="spectral_unclamped")
    yield lbfgs_run(1, max_iter=1)
    yield lbfgs_run(0.5, max_iter=3, history_size=2)
    yield lbfgs_run(8, max_iter=2, max_eval=6)
    yield written(lion, "Lion", 0.03)
    yield written(lion, "Lion", 0.03, betas=(0.8, 0.95), weight_decay=0.1)
    yield written(schedule_free, "ScheduleFreeAdamW", 0.05)
    yield written(schedule_free, "ScheduleFreeAdamW", 0.1, betas=(0.7, 0.9), eps=1e-3, weight_decay=0.1, warmup_steps=4)
    yield written(prodigy, "Prodigy", 1.0)
    yield written(prodigy, "Prodigy", 1.0, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.1, d0=1e-3)
    yield written(prodigy, "Prodigy", 0.5, d0=1e-2)


# Functions along a line, with their derivatives; the first two are Moré and Thuente's (1994). Searches that creep fit cubics to
# rounding errors in the end: none of them starts so that it creeps forwards, and they stop after 15 tries.
FIRST = (1e-3, 0.05, 1.3, 3.0, 40.0)
LINES = {
    "valley": (lambda t: -t / (t**2 + 2), lambda t: (t**2 - 2) / (t**2 + 2) ** 2),
    "quintic": (lambda t: (t + 0.004) ** 5 - 2 * (t + 0.004) ** 4, lambda t: 5 * (t + 0.004) ** 4 - 8 * (t + 0.004) ** 3),
    "waves": (lambda t: 0.1 * math.sin(7 * t) - t + 0.2 * t**2, lambda t: 0.7 * math.cos(7 * t) - 1 + 0.4 * t),
    "wall": (lambda t: t**8 / 8 - t, lambda t: t**7 - 1),
    "shelf": (
        lambda t: -t * math.exp(-50 * t) - 3e-5 * (1 - math.exp(-50 * t)) * math.exp(-t),
        lambda t: (50 * t - 1) * math.exp(-50 * t) - 3e-5 * (51 * math.exp(-51 * t) - math.exp(-t)),
    ),
    "ripples": (lambda t: 0.02 * math.sin(49 * t) - t / (1 + t), lambda t: 0.98 * math.cos(49 * t) - 1 / (1 + t) ** 2),
    "kink": (lambda t: math.sqrt((t - 0.3) ** 2 + 1e-4), lambda t: (t - 0.3) / math.sqrt((t - 0.3) ** 2 + 1e-4)),
}


def line_search(name, first):
    """Where PyTorch's line search looks, and what it settles for."""
    value, slope = LINES[name]
    visited, d = [], torch.ones(1)

    def objective(_, t, __):
        visited.append(float(t))
        return value(t), torch.tensor([slope(t)])

    start = torch.tensor([slope(0.0)])
    _, _, t, _ = _strong_wolfe(objective, None, first, d, value(0.0), start, start.dot(d), max_ls=15)
    return {"name": name, "first": first, "visited": visited, "found": float(t)}


def main():
    problem = {
        "x": X.tolist(),
        "y": Y.tolist(),
        "parameters": {name: {"shape": list(value.shape), "data": value.reshape(-1).tolist()} for name, value in START.items()},
    }
    lines = [f'"about": "{__doc__.splitlines()[0]} PyTorch {torch.__version__}."', f'"steps": {list(STEPS)}']
    lines.append(f'"problem": {json.dumps(problem)}')
    each = ",\n    ".join(json.dumps(found) for found in runs())
    lines.append(f'"runs": [\n    {each}\n  ]')
    searches = ",\n    ".join(json.dumps(line_search(name, first)) for name in LINES for first in FIRST)
    lines.append(f'"searches": [\n    {searches}\n  ]')
    target = Path(__file__).parent.parent / "test/golden/optimizers.json"
    target.write_text("{\n  " + ",\n  ".join(lines) + "\n}\n")


main()
