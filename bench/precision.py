"""What half precision and channels last are worth: steps of whole networks against the same in single precision.

    python bench/precision.py [--out TABLE.md] [--threads 2] [--device cpu] [--rounds 3]

A step is forward, loss, backward and optimiser on a batch in memory, as `train.precision: bf16-mixed` and
`train.channels_last: true` make it. The three kinds take turns; times are medians over the rounds. Beside the speed stands the
error: how far the answers lie from those of single precision, as a share of the largest. Some six minutes on two cores.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from heschl.files import write_text
from heschl.models.alexnet import AlexNet
from heschl.models.audionet import AudioNet
from heschl.models.audionet_v1 import AudioNetV1
from heschl.models.crnn import CRNN
from heschl.models.kws import KWS
from heschl.training.channels_last import channels_last

KINDS = ("single", "bf16-mixed", "bf16-mixed, channels last")
NETWORKS = {  # name -> (network, its input, clips a step), as the recipes have them
    "AlexNet": (AlexNet, (1, 227, 227), 256),
    "AudioNet": (AudioNet, (1, 8000), 100),
    "AudioNet-V1": (AudioNetV1, (1, 15500), 128),
    "CRNN": (CRNN, (129, 71), 64),
    "kws": (KWS, (40, 101), 64),
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the table here as well")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    lines = [
        f"Torch {torch.__version__}, {where(given.device)}, {given.threads} thread(s), {time.strftime('%Y-%m-%d')}.",
        "",
        f"| network | clips a step | {KINDS[0]}, ms | {KINDS[1]}, times faster | error | {KINDS[2]}, times faster | error |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, (network, shape, batch) in NETWORKS.items():
        seconds, errors = measure(network, shape, batch, given.rounds, torch.device(given.device))
        cells = [f"{seconds[0] / seconds[k]:.1f} | {errors[k]:.0e}" for k in (1, 2)]
        lines.append(f"| {name} | {batch} | {1000 * seconds[0]:.0f} | {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if given.out:
        write_text(given.out, text)
    return 0


def where(device: str) -> str:
    """The processor, and whether it has instructions for half precision."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    amx = torch.cpu._is_amx_tile_supported()
    return f"CPU with {torch.backends.cpu.get_cpu_capability()}, {'with' if amx else 'without'} AMX"


def measure(
    network: type[nn.Module], shape: tuple[int, ...], batch: int, rounds: int, device: torch.device
) -> tuple[list[float], list[float]]:
    """Seconds a step of each of `KINDS`, and the error of its answers; all begin with the same weights."""
    torch.manual_seed(0)
    x = torch.randn(batch, *shape, device=device)
    y = torch.randint(10, (batch,), device=device)
    models = []
    for kind in KINDS:
        torch.manual_seed(1)
        model = network(shape, 10).to(device).eval()  # without dropout, so that answers can be compared
        models.append(channels_last(model) if "last" in kind else model)
    with torch.no_grad():
        answers = [answer(model, x, kind) for model, kind in zip(models, KINDS)]
    errors = [float((one - answers[0]).abs().max() / answers[0].abs().max()) for one in answers]
    optimisers = [torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9) for model in models]
    taken: list[list[float]] = [[] for _ in KINDS]
    for turn in range(rounds + 1):
        for k, (model, optimiser, kind) in enumerate(zip(models, optimisers, KINDS)):
            begin = now(device)
            optimiser.zero_grad()
            nn.functional.cross_entropy(answer(model.train(), x, kind), y).backward()
            optimiser.step()
            if turn:  # the first warms up
                taken[k].append(now(device) - begin)
    return [statistics.median(one) for one in taken], errors


def answer(model: nn.Module, x: Tensor, kind: str) -> Tensor:
    with torch.autocast(x.device.type, torch.bfloat16, enabled=kind != "single"):
        given = model(x)
    logits: Tensor = given if isinstance(given, Tensor) else given.logits  # kws answers by branches as well
    return logits.float()


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    raise SystemExit(main())
