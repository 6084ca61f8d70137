"""A cell of your own, trained with PyTorch: six lines, no loop, no backward pass by hand.

    python examples/own_cell_torch.py            (half a minute)
    python examples/own_cell_torch.py --quick    (a few seconds)

The task is the adding problem (Hochreiter & Schmidhuber 1997): two numbers are marked somewhere in a long
sequence of random ones, and their sum is the target at its end. Answering 1 each time has an error of 0.167.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from stepfold import cell, sigmoid, tanh
from stepfold.torch import Recurrent


@cell(vectors={"b_k": 2.0})  # so that at first it keeps most of its state
def keeper(x, h, *, W_k, U_k, b_k, W_n, U_n, b_n):
    """Keep a share of each unit; the rest gets a new value, computed from the share that is replaced."""
    keep = sigmoid(W_k @ x + U_k @ h + b_k)
    new = tanh(W_n @ x + U_n @ ((1 - keep) * h) + b_n)
    return keep * h + (1 - keep) * new


class Adder(nn.Module):
    """The cell over the sequence, and a linear layer on its last output."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.recurrent = Recurrent(keeper, 2, units, batch_first=True)
        self.head = nn.Linear(units, 1)

    def forward(self, x: Tensor) -> Tensor:
        """From x (rows, timesteps, 2) to the answers (rows, 1)."""
        outputs, _ = self.recurrent(x)
        return self.head(outputs[:, -1])


def batch(rows: int, timesteps: int) -> tuple[Tensor, Tensor]:
    """Random numbers, two of them marked (rows, timesteps, 2), and the sums of the marked ones (rows, 1)."""
    numbers, marks = torch.rand(rows, timesteps), torch.zeros(rows, timesteps)
    for half in (slice(0, timesteps // 2), slice(timesteps // 2, timesteps)):
        where = torch.randint(half.start, half.stop, (rows, 1))
        marks.scatter_(1, where, 1.0)
    return torch.stack([numbers, marks], -1), (numbers * marks).sum(1, keepdim=True)


def by_hand(layer: Recurrent, x: Tensor) -> Tensor:
    """The same layer in plain PyTorch: outputs (rows, timesteps, units)."""
    weights = [getattr(layer, f"{name}_l0") for name in ("W_k", "U_k", "b_k", "W_n", "U_n", "b_n")]
    w_k, u_k, b_k, w_n, u_n, b_n = weights
    h, outputs = x.new_zeros(x.shape[0], layer.hidden_size), []
    for x_t in x.unbind(1):
        keep = torch.sigmoid(x_t @ w_k.T + h @ u_k.T + b_k)
        new = torch.tanh(x_t @ w_n.T + ((1 - keep) * h) @ u_n.T + b_n)
        h = keep * h + (1 - keep) * new
        outputs.append(h)
    return torch.stack(outputs, 1)


def milliseconds(run: Callable[[Tensor], Tensor], x: Tensor, repeats: int = 5) -> float:
    """The fastest of some forward and backward passes."""
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        run(x).sum().backward()
        found.append(time.perf_counter() - start)
    return 1000 * min(found)


def main() -> None:
    """Train it, then time it."""
    parser = argparse.ArgumentParser(description="Train your own cell on the adding problem.")
    parser.add_argument("--quick", action="store_true", help="short sequences, a few seconds")
    quick = parser.parse_args().quick
    timesteps, steps, units = (30, 300, 32) if quick else (100, 900, 64)
    torch.manual_seed(0)

    model = Adder(units)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    start = time.perf_counter()
    for step in range(1, steps + 1):
        x, y = batch(64, timesteps)
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % (steps // 6) == 0:
            print(f"step {step:5}  error {loss.item():.4f}")
    print(f"trained {steps} steps on {timesteps} timesteps in {time.perf_counter() - start:.1f} s")

    with torch.no_grad():
        x, y = batch(1000, timesteps)
        print(f"error on new sequences: {nn.functional.mse_loss(model(x), y).item():.4f}")

    layer, (x, _) = model.recurrent, batch(64, timesteps)
    torch.testing.assert_close(layer(x)[0], by_hand(layer, x), rtol=1e-4, atol=1e-4)
    fused, loop = milliseconds(lambda x: layer(x)[0], x), milliseconds(lambda x: by_hand(layer, x), x)
    print(
        f"forward and backward: {fused:.2f} ms here, {loop:.1f} ms as a loop of torch: {loop / fused:.0f} x"
    )


if __name__ == "__main__":
    main()
