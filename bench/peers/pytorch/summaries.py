"""Summaries by PyTorch's own ways to differentiate.

Each takes a function φ of S numbers (the loss after a move along the directions of S groups) and S, and returns its
gradient, its Hessian and the diagonal of its third derivative at 0.
"""

import torch
from torch.autograd import grad
from torch.func import grad as gradient
from torch.func import jvp, vmap


def zeros(size):
    return [torch.zeros((), requires_grad=True) for _ in range(size)]


def nested(phi, size):
    """One double and one triple backward for each group; the Hessian being symmetric, its upper half only."""
    etas = zeros(size)
    g = grad(phi(etas), etas, create_graph=True)
    hessian, order3 = torch.zeros(size, size), torch.zeros(size)
    for s in range(size):
        row = grad(g[s], etas[s:], create_graph=True)
        hessian[s, s:] = torch.stack(row).detach()
        order3[s] = grad(row[0], etas[s], retain_graph=True)[0]
    return torch.stack(g).detach(), hessian.triu() + hessian.triu(1).T, order3


def batched(phi, size):
    """The double backwards of all groups as one.

    The triple ones are one by one: as one, they would go through S copies of S copies, which took a hundred times longer.
    """
    etas = zeros(size)
    g = grad(phi(etas), etas, create_graph=True)
    rows = grad(torch.stack(g), etas, torch.eye(size), is_grads_batched=True, retain_graph=True)
    order3 = torch.zeros(size)
    for s in range(size):
        own = grad(g[s], etas[s], create_graph=True)
        order3[s] = grad(own[0], etas[s], retain_graph=True)[0]
    return torch.stack(g).detach(), torch.stack(rows, 1), order3


def func(phi, size):
    """The jvp of the jvp of the gradient along each group, of all groups at once by vmap."""
    zero = torch.zeros(size)

    def along(unit):
        def second(eta):
            return jvp(gradient(phi), (eta,), (unit,))

        (g, row), (_, third) = jvp(second, (zero,), (unit,))
        return g, row, third @ unit

    g, hessian, order3 = vmap(along)(torch.eye(size))
    return g[0], hessian, order3


WAYS = {"nested": nested, "batched": batched, "func": func}
