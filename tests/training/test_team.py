"""Two processes train as one with batches twice as large."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from backend.training import team

WORKER = """
import torch
from backend.training import team
assert team.join("cpu") == "cpu" and team.size() == 2
layer = torch.nn.Linear(3, 1, bias=False)
torch.nn.init.constant_(layer.weight, 1.0)
if team.rank() == 0:  # the second saw nothing that moves the weights
    (layer.weight * torch.tensor([[2.0, 4.0, 6.0]])).sum().backward()
team.average_gradients(list(layer.parameters()))
assert layer.weight.grad.tolist() == [[1.0, 2.0, 3.0]], layer.weight.grad
assert team.any_of(team.rank() == 1) and not team.any_of(False)
print("agreed", team.rank())
"""


def test_gradients_are_averaged_over_processes():
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    done = subprocess.run(
        [*launcher, sys.executable, "-c", WORKER], capture_output=True, text=True, env=environment, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("agreed") == 2


def test_alone_nothing_changes():
    layer = torch.nn.Linear(2, 1)
    layer(torch.ones(2)).backward()
    assert layer.weight.grad is not None
    before = layer.weight.grad.clone()
    team.average_gradients(list(layer.parameters()))
    assert torch.equal(layer.weight.grad, before)
    assert (team.join("cuda"), team.rank(), team.size()) == ("cuda", 0, 1)
    assert team.leads() and team.any_of(True) and not team.any_of(False)
