"""Writes test/golden/kfac.json: where K-FAC leads on small problems, in float64.

Run it with a Python that has PyTorch: python scripts/kfac-values.py

Written from the papers: Martens & Grosse, arXiv 1503.05671 (factors, their averages, factored damping); Grosse & Martens,
arXiv 1602.01407 (convolutions); Ba, Grosse & Martens, Distributed Second-Order Optimization using Kronecker-Factored
Approximations, 2017 (the bound on a step). Samples go through the network one by one, so that each has its own gradients.
"""

import json
import math
from pathlib import Path

import torch
from torch.nn import functional as F

STEPS = (1, 2, 7)
torch.set_default_dtype(torch.float64)


def values(shape, start, scale=1.0):
    count = math.prod(shape)
    return scale * torch.tensor([math.sin(start + 2.3 * i + 0.7 * i * i) for i in range(count)]).reshape(shape)


class Draws:
    """xoshiro128** of Blackman and Vigna, seeded by splitmix32, and uniform numbers of 53 bits from it."""

    def __init__(self, seed):
        state, self.words = seed & 0xFFFFFFFF, []
        for _ in range(4):
            state = (state + 0x9E3779B9) & 0xFFFFFFFF
            z = ((state ^ (state >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
            z = ((z ^ (z >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
            self.words.append(z ^ (z >> 16))

    def word(self):
        rotated = lambda x, bits: ((x << bits) | (x >> (32 - bits))) & 0xFFFFFFFF
        w = self.words
        result = (rotated(w[1] * 5 & 0xFFFFFFFF, 7) * 9) & 0xFFFFFFFF
        shifted = (w[1] << 9) & 0xFFFFFFFF
        w[2] ^= w[0]
        w[3] ^= w[1]
        w[1] ^= w[2]
        w[0] ^= w[3]
        w[2] ^= shifted
        w[3] = rotated(w[3], 11)
        return result

    def uniform(self, shape):
        return torch.tensor(
            [((self.word() >> 5) * 67108864 + (self.word() >> 6)) / 2**53 for _ in range(math.prod(shape))]
        ).reshape(shape)


class Tape:
    """What a sample's way through a network leaves behind: for each use of a layer its inputs, and its result before a bias."""

    def __init__(self, parameters):
        self.p, self.uses = parameters, []

    def record(self, name, inputs, result, outputs):
        """inputs: rows [groups, places, n]; outputs: such rows from a gradient of the result."""
        self.uses.append((name, inputs, result, outputs))
        return result

    def linear(self, name, x):
        rows = lambda each: each.reshape(1, -1, each.shape[-1])
        z = self.record(name, rows(x), x @ self.p[f"{name}.weight"].T, rows)
        return z + self.p[f"{name}.bias"] if f"{name}.bias" in self.p else z

    def conv(self, name, x, groups=1, **window):
        weight = self.p[f"{name}.weight"]
        inputs = F.unfold(x[None], weight.shape[2:], **window)[0].reshape(groups, -1, self.places(x, weight, window))
        z = F.conv2d(x[None], weight, groups=groups, **window)[0]
        rows = lambda each: each.reshape(groups, each.shape[0] // groups, -1).transpose(1, 2)
        z = self.record(name, inputs.transpose(1, 2), z, rows)
        return z + self.p[f"{name}.bias"][:, None, None]

    def transposed(self, name, x, **window):
        """Each entry of x adds weights to a window of the result; what meets the weights there is the gradient under it."""
        weight = self.p[f"{name}.weight"]
        z = F.conv_transpose2d(x[None], weight, **window)[0]
        rows = lambda each: F.unfold(each[None], weight.shape[2:], **window).transpose(1, 2)
        z = self.record(name, x.reshape(1, x.shape[0], -1).transpose(1, 2), z, rows)
        return z + self.p[f"{name}.bias"][:, None, None]

    @staticmethod
    def places(x, weight, window):
        return F.conv2d(x[None, :1], weight[:1, :1], **window).numel()


def perceptron(tape, x):
    return tape.linear("last", torch.tanh(tape.linear("first", x)))


def convolutions(tape, x):
    x = torch.tanh(tape.conv("first", x, stride=(1, 2), padding=(1, 0)))
    x = torch.tanh(tape.conv("grouped", x, groups=2))
    return tape.linear("last", x.reshape(-1))


def decoder(tape, x):
    x = torch.tanh(tape.linear("first", x)).reshape(3, 2, 2)
    return tape.transposed("up", x, stride=2, padding=1)


def sequence(tape, x):
    """A layer that is used at three places, and again on its own results; a scale that is in no layer."""
    x = torch.tanh(tape.linear("twice", x))
    x = torch.tanh(tape.linear("twice", x)) * tape.p["scale"]
    return tape.linear("last", x).T


def categorical(output, target, noise):
    below = torch.softmax(output, 0).cumsum(0)[:-1]
    return (noise >= below).sum(0)


def normal(output, target, noise):
    return output.detach() + math.sqrt(output.numel() / 2) * torch.where(noise < 0.5, -1.0, 1.0)


def bernoulli(output, target, noise):
    return (noise < torch.sigmoid(output)).double()


cross_entropy = lambda output, target: F.cross_entropy(output[None], target[None])
PROBLEMS = {
    "perceptron": {
        "network": perceptron,
        "loss": (cross_entropy, categorical),
        "x": values((5, 3), 1),
        "y": torch.tensor([0, 2, 1, 1, 0]),
        "layers": {"first": True, "last": True},
        "shapes": {"first.weight": (4, 3), "first.bias": (4,), "last.weight": (3, 4), "last.bias": (3,)},
    },
    "convolutions": {
        "network": convolutions,
        "loss": (F.mse_loss, normal),
        "x": values((4, 2, 4, 5), 2),
        "y": values((4, 2), 3),
        "layers": {"first": True, "grouped": True, "last": False},
        "shapes": {
            "first.weight": (4, 2, 3, 3),
            "first.bias": (4,),
            "grouped.weight": (2, 2, 2, 1),
            "grouped.bias": (2,),
            "last.weight": (2, 12),
        },
    },
    "decoder": {
        "network": decoder,
        "loss": (F.binary_cross_entropy_with_logits, bernoulli),
        "x": values((4, 2), 4),
        "y": (values((4, 2, 3, 3), 5) > 0).double(),
        "layers": {"first": True, "up": False},
        "shapes": {"first.weight": (12, 2), "first.bias": (12,), "up.weight": (3, 2, 3, 3), "up.bias": (2,)},
    },
    "sequence": {
        "network": sequence,
        "loss": (cross_entropy, categorical),
        "x": values((4, 3, 3), 6),
        "y": torch.tensor([[0, 1, 1], [1, 0, 1], [0, 0, 1], [1, 1, 0]]),
        "layers": {"twice": True, "last": False},
        "shapes": {"scale": (3,), "twice.weight": (3, 3), "twice.bias": (3,), "last.weight": (2, 3)},
    },
}


def start(problem):
    return {name: values(shape, 7 + i, 0.6) for i, (name, shape) in enumerate(problem["shapes"].items())}


class KFAC:
    def __init__(self, problem, lr=0.003, damping=0.03, factor_decay=0.95, kl_clip=0.001, momentum=0.9, weight_decay=0.0,
                 factor_update_steps=10, inv_update_steps=100, fisher="true", seed=0):
        self.problem, self.draws = problem, Draws(seed)
        self.lr, self.damping, self.factor_decay, self.kl_clip = lr, damping, factor_decay, kl_clip
        self.momentum, self.weight_decay, self.fisher = momentum, weight_decay, fisher
        self.factor_update_steps, self.inv_update_steps = factor_update_steps, inv_update_steps
        self.p = {name: value.requires_grad_() for name, value in start(problem).items()}
        self.velocity = {name: torch.zeros_like(value) for name, value in self.p.items()}
        self.factors, self.inverses, self.steps, self.updates = {}, {}, 0, 0

    def gradient(self, targets):
        """Of the mean loss over the samples."""
        loss, _ = self.problem["loss"]
        outputs = [self.problem["network"](Tape(self.p), x) for x in self.problem["x"]]
        mean = sum(loss(output, y) for output, y in zip(outputs, targets)) / len(outputs)
        return dict(zip(self.p, torch.autograd.grad(mean, self.p.values())))

    def targets(self):
        """Those that the Fisher matrix is for."""
        x, y = self.problem["x"], self.problem["y"]
        if self.fisher == "empirical":
            return y
        _, draw = self.problem["loss"]
        outputs = [self.problem["network"](Tape(self.p), each).detach() for each in x]
        noise = self.draws.uniform(y.shape)
        return torch.stack([draw(*each) for each in zip(outputs, y, noise)])

    def moments(self, targets):
        """A and G of each layer, and the diagonal of what is in none."""
        loss, _ = self.problem["loss"]
        sums, places = {}, {}
        for x, target in zip(self.problem["x"], targets):
            tape = Tape(self.p)
            value = loss(self.problem["network"](tape, x), target)
            slopes = torch.autograd.grad(value, [result for _, _, result, _ in tape.uses])
            for (name, inputs, _, outputs), slope in zip(tape.uses, slopes):
                a, g = inputs.detach(), outputs(slope)
                if self.problem["layers"][name]:
                    a = torch.cat([a, torch.ones_like(a[..., :1])], -1)
                for key, rows in (("A", a), ("G", g)):
                    moment = sum(rows[:, t, :, None] * rows[:, t, None, :] for t in range(rows.shape[1]))
                    sums[name, key] = sums.get((name, key), 0) + moment
                places[name] = places.get(name, 0) + a.shape[1]
        count = len(targets)
        found = {(name, "A"): sums[name, "A"] / count for name in self.problem["layers"]}
        found |= {(name, "G"): sums[name, "G"] / places[name] for name in self.problem["layers"]}
        return found | {(name, "D"): count * self.gradient(targets)[name] ** 2 for name in self.alone()}

    def alone(self):
        joined = {f"{name}.weight" for name in self.problem["layers"]}
        joined |= {f"{name}.bias" for name, bias in self.problem["layers"].items() if bias}
        return [name for name in self.p if name not in joined]

    def take_in(self):
        self.updates += 1
        keep = min(1 - 1 / self.updates, self.factor_decay)
        for key, value in self.moments(self.targets()).items():
            self.factors[key] = keep * self.factors.get(key, 0) + (1 - keep) * value

    def invert(self):
        gamma = math.sqrt(self.damping + self.weight_decay)
        for name in self.problem["layers"]:
            a, g = self.factors[name, "A"], self.factors[name, "G"]
            mean = lambda each: torch.diagonal(each, dim1=1, dim2=2).mean(1)[:, None, None]
            pi = torch.sqrt(mean(a) / mean(g))
            damped = lambda each, amount: each + amount * torch.eye(each.shape[1])
            self.inverses[name] = torch.linalg.inv(damped(a, pi * gamma)), torch.linalg.inv(damped(g, gamma / pi))

    def natural(self, gradient):
        found = {}
        for name, bias in self.problem["layers"].items():
            a, g = self.inverses[name]
            slope = gradient[f"{name}.weight"]
            if name == "up":  # [in, out, ...]: the first axis meets the inputs
                found["up.weight"] = (a @ slope.reshape(1, slope.shape[0], -1) @ g).reshape(slope.shape)
                continue
            matrix = slope.reshape(a.shape[0], g.shape[1], -1)
            if bias:
                matrix = torch.cat([matrix, gradient[f"{name}.bias"].reshape(a.shape[0], -1, 1)], 2)
            matrix = g @ matrix @ a
            if bias:
                found[f"{name}.bias"], matrix = matrix[..., -1].reshape(-1), matrix[..., :-1]
            found[f"{name}.weight"] = matrix.reshape(slope.shape)
        for name in self.alone():
            found[name] = gradient[name] / (self.factors[name, "D"] + self.damping + self.weight_decay)
        return found

    def step(self):
        gradient = self.gradient(self.problem["y"])
        if self.steps % self.factor_update_steps == 0:
            self.take_in()
        if self.steps % self.inv_update_steps == 0:
            self.invert()
        self.steps += 1
        with torch.no_grad():
            gradient = {name: slope + self.weight_decay * self.p[name] for name, slope in gradient.items()}
            natural = self.natural(gradient)
            change = self.lr**2 * sum(float((natural[name] * gradient[name]).sum()) for name in self.p)
            scale = min(1.0, math.sqrt(self.kl_clip / change))
            for name in self.p:
                self.velocity[name] = self.momentum * self.velocity[name] + scale * natural[name]
                self.p[name] -= self.lr * self.velocity[name]


EVERY = {"lr": 0.1, "damping": 0.001, "factor_update_steps": 1}
RUNS = [
    ("perceptron", {}),
    ("perceptron", {**EVERY, "inv_update_steps": 20}),
    ("perceptron", {**EVERY, "lr": 0.5, "damping": 0.1, "kl_clip": math.inf, "momentum": 0.0, "inv_update_steps": 2, "seed": 5}),
    ("perceptron", {**EVERY, "fisher": "empirical", "weight_decay": 0.01, "factor_decay": 0.5, "factor_update_steps": 2, "inv_update_steps": 4}),
    ("convolutions", {**EVERY, "inv_update_steps": 3, "kl_clip": 0.1}),
    ("convolutions", {**EVERY, "fisher": "empirical", "weight_decay": 0.1, "factor_decay": 0.3, "kl_clip": math.inf, "inv_update_steps": 1}),
    ("decoder", {**EVERY, "inv_update_steps": 2, "damping": 0.01, "kl_clip": 0.05, "weight_decay": 0.02}),
    ("sequence", {**EVERY, "inv_update_steps": 3, "kl_clip": 0.02, "momentum": 0.5}),
    ("sequence", {**EVERY, "fisher": "empirical", "factor_update_steps": 3, "inv_update_steps": 3, "damping": 0.03}),
]


def camel(name):
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def run(name, options):
    optimizer, path = KFAC(PROBLEMS[name], **options), []
    for number in range(1, STEPS[-1] + 1):
        optimizer.step()
        if number in STEPS:
            path.append({key: value.detach().reshape(-1).tolist() for key, value in optimizer.p.items()})
    given = {camel(key): str(value) if value == math.inf else value for key, value in options.items()}
    return {"problem": name, "options": given, "path": path}


def array(tensor):
    return {"shape": list(tensor.shape), "data": tensor.reshape(-1).tolist()}


def main():
    problems = {
        name: {
            "x": array(problem["x"]),
            "y": array(problem["y"]),
            "parameters": {key: array(value) for key, value in start(problem).items()},
        }
        for name, problem in PROBLEMS.items()
    }
    lines = [f'"about": "{__doc__.splitlines()[0]} PyTorch {torch.__version__}."', f'"steps": {list(STEPS)}']
    lines.append(f'"problems": {json.dumps(problems)}')
    each = ",\n    ".join(json.dumps(run(*found)) for found in RUNS)
    lines.append(f'"runs": [\n    {each}\n  ]')
    target = Path(__file__).parent.parent / "test/golden/kfac.json"
    target.write_text("{\n  " + ",\n  ".join(lines) + "\n}\n")


main()
