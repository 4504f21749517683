"""`python -m benchmarks.gemm THREADS`: what the cores can multiply, the roof over every other figure.

In a process of its own, since a library's idle threads would spin beside another's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

SIDE = 2048
RUNS = 5


def peak(threads: int) -> float:
    """GFLOP/s of float32 matrices of 2048 x 2048, the best of a few, measured by a process of its own."""
    command = [sys.executable, "-m", "benchmarks.gemm", str(threads)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(answer.stdout))


def measured(threads: int) -> float:
    """The same in this process, by torch (oneDNN or MKL)."""
    import torch

    torch.set_num_threads(threads)
    one, other = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)
    fastest = float("inf")
    for _ in range(RUNS + 1):
        began = time.perf_counter()
        torch.mm(one, other)
        fastest = min(fastest, time.perf_counter() - began)
    return float(2 * SIDE**3 / fastest / 1e9)


if __name__ == "__main__":
    print(json.dumps(measured(int(sys.argv[1]))))
