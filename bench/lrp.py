"""Relevance on an AlexNet: time in multiples of one forward pass, memory, and the difference from captum.

    python bench/lrp.py [--out TABLE.md] [--clips 16] [--threads 1] [--device cpu] [--rounds 3]

The rows take turns in every round, so that a machine that is busy is busy for all; a row's time is its median over
rounds of (its time / that round's forward pass). Memory is what the peak grows by in a fresh process. Captum knows
epsilon and alpha 1 beta 0 (of weights, not of contributions: another answer than z+ where inputs are negative, as
decibels are). Under a minute on two cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from heschl.explanation.gradient import gradient_x_input
from heschl.explanation.lrp import PRESETS, lrp
from heschl.files import write_text
from heschl.models.alexnet import AlexNet

LIMITS = {"epsilon": 3.0, "epsilon_plus": 5.0, "epsilon_alpha2beta1": 8.0}  # forward passes


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the table here as well")
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore")
    model, x, target = subject(given.clips, given.device)
    rows = methods(model, x, target)
    if given.memory_of:
        print(json.dumps(peak_of(rows[given.memory_of], x)))
        return 0
    multiples, forward = timed(rows, x, given.rounds)
    weighed = [name for name in rows if name in ("forward", "gradient x input", *LIMITS, "captum epsilon")]
    memory = {name: in_a_fresh_process(name, given) for name in weighed}
    text = table(rows, multiples, forward, memory, given)
    print(text)
    if given.out:
        write_text(given.out, text + "\n")
    slow = [name for name, limit in LIMITS.items() if multiples[name] > limit]
    for name in slow:
        print(f"{name} takes {multiples[name]:.2f} forward passes; at most {LIMITS[name]:.0f} are allowed")
    return 1 if slow else 0


def subject(clips: int, device: str) -> tuple[nn.Module, Tensor, Tensor]:
    """An AlexNet with weights that keep the scale, and clips of decibels from -80 to 0."""
    torch.manual_seed(0)
    model = AlexNet((1, 227, 227), 10, init="he").eval().to(device)
    for p in model.parameters():
        p.requires_grad_(False)
    return model, (-80 * torch.rand(clips, 1, 227, 227)).to(device), (torch.arange(clips) % 10).to(device)


def methods(model: nn.Module, x: Tensor, target: Tensor) -> dict[str, Callable[[], Tensor]]:
    def forward() -> Tensor:
        with torch.no_grad():
            return model(x)

    rows: dict[str, Callable[[], Tensor]] = {
        "forward": forward,
        "gradient x input": lambda: gradient_x_input(model, x, target),
    }
    for preset in PRESETS:
        rows[preset] = lambda preset=preset: lrp(model, x, target, preset)  # type: ignore[misc]
    try:
        import captum.attr  # noqa: F401
    except ImportError:
        print("captum is not here (pip install captum): its rows are left out", file=sys.stderr)
        return rows
    rows["captum epsilon"] = lambda: captums(model, x, target, plus=False)
    rows["captum alpha 1 beta 0"] = lambda: captums(model, x, target, plus=True)
    return rows


def captums(model: nn.Module, x: Tensor, target: Tensor, plus: bool) -> Tensor:
    from captum.attr import LRP
    from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule

    for layer in model.modules():
        if not list(layer.children()):
            layer.rule = Alpha1_Beta0_Rule() if plus and isinstance(layer, nn.Conv2d) else EpsilonRule(1e-6)
    given: Tensor = LRP(model).attribute(x.detach().clone().requires_grad_(), target=target)
    return given.detach()


def timed(rows: dict[str, Callable[[], Tensor]], x: Tensor, rounds: int) -> tuple[dict[str, float], float]:
    times: dict[str, list[float]] = {name: [] for name in rows}
    for each in range(rounds + 1):
        for name, call in rows.items():
            settle(x)
            begin = time.perf_counter()
            call()
            settle(x)
            if each:  # the first round warms up
                times[name].append(time.perf_counter() - begin)
    forward = times["forward"]
    ratios = {name: statistics.median(t / f for t, f in zip(took, forward)) for name, took in times.items()}
    return ratios, min(forward)


def settle(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize()


def peak_of(call: Callable[[], Tensor], x: Tensor) -> float | None:
    """MiB by which the peak of memory grows in the call; None where the system does not tell."""
    if x.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    status = Path("/proc/self/status")
    if not status.exists():
        return None

    def read(field: str) -> float:
        line = next(
            line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith(field)
        )
        return float(line.split()[1]) / 1024

    before = read("VmRSS")
    call()
    return max(0.0, read("VmHWM") - before)


def in_a_fresh_process(name: str, given: argparse.Namespace) -> float | None:
    command = [sys.executable, __file__, "--memory-of", name, "--clips", str(given.clips)]
    command += ["--threads", str(given.threads), "--device", given.device]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
    return None if (mib := json.loads(done.stdout.splitlines()[-1])) is None else float(mib)


def table(
    rows: dict[str, Callable[[], Tensor]],
    multiples: dict[str, float],
    forward: float,
    memory: dict[str, float | None],
    given: argparse.Namespace,
) -> str:
    if "captum epsilon" in rows:
        ours, theirs = rows["epsilon"](), rows["captum epsilon"]()
        apart = f"{float((ours - theirs).abs().max() / ours.abs().max()):.1e}"
    else:
        apart = "captum is not here"
    lines = [
        f"AlexNet, {given.clips} x 1 x 227 x 227, {given.device}, {given.threads} thread(s), torch {torch.__version__}; "
        f"one forward pass {1000 * forward:.0f} ms; epsilon against captum's, relative to the largest: {apart}",
        "",
        "| method | forward passes | at most | memory, MiB |",
        "|---|---:|---:|---:|",
    ]
    for name in rows:
        mib = memory.get(name)
        limit = f"{LIMITS[name]:.0f}" if name in LIMITS else ""
        lines.append(f"| {name} | {multiples[name]:.2f} | {limit} | {'' if mib is None else f'{mib:.0f}'} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
