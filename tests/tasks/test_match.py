"""Matching: against loops, with duplicates, in pieces, and on two processes."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from heschl.models.segment_encoder import SegmentEncoder
from heschl.tasks.match import MatchLoss, cached_backward, gathered, match_loss, match_scores, read_candidates
from heschl.types import HeschlError


def segments(n: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(n, 3, 4, generator=generator, dtype=torch.float64) for _ in range(2))  # type: ignore[return-value]


def test_loss_by_hand_with_duplicates() -> None:
    z, y = segments()
    groups = torch.tensor([0, 1, 0, 2, 3, 1])
    total = 0.0
    for i in range(6):
        score = [float((z[i] * y[j]).sum() / y[j].square().sum().sqrt()) / 0.5 for j in range(6)]
        kept = [j for j in range(6) if j == i or groups[j] != groups[i]]
        total += math.log(sum(math.exp(score[j]) for j in kept)) - score[i]
    assert float(match_loss(z, y, groups, 0.5)) == pytest.approx(total / 6)
    plain = match_scores(z, y, normalise="both")
    expected = (F.cross_entropy(plain, torch.arange(6)) + F.cross_entropy(plain.T, torch.arange(6))) / 2
    assert float(match_loss(z, y, normalise="both", symmetric=True)) == pytest.approx(float(expected))


def test_a_duplicate_changes_no_other_gradient() -> None:
    z, y = segments()
    y[3] = y[0]
    z.requires_grad_()
    (to_z,) = torch.autograd.grad(match_loss(z, y, torch.tensor([0, 1, 2, 0, 4, 5])), z)
    pushed = to_z[0].flatten() @ (y[3] / y[3].norm()).flatten()
    assert float(pushed) <= 0  # towards the same segment, never away from it
    with pytest.raises(HeschlError, match="one candidate only"):
        match_loss(z, y, torch.zeros(6, dtype=torch.long))
    with pytest.raises(HeschlError, match="shape"):
        match_loss(z, y[:, :2])


def network() -> SegmentEncoder:
    torch.manual_seed(0)
    options = {
        "virtual": 4,
        "hidden": 6,
        "depth": 4,
        "period": 2,
        "norm": "group",
        "radius": 0.0,
        "subjects": 2,
    }
    return SegmentEncoder((5, 12), 3, **options).double()  # type: ignore[arg-type]


def data(n: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    x, y = torch.randn(n, 5, 12, generator=g).double(), torch.randn(n, 12, 3, generator=g).double()
    return x, torch.rand(n, 5, 2, generator=g).double(), torch.arange(n) % 2, y, torch.arange(n) // 2 % 3


def whole() -> tuple[float, list[torch.Tensor], torch.Tensor]:
    model, loss = network(), MatchLoss(0.5, learnt=True).double()
    x, places, subject, y, groups = data()
    value = loss(model(x, places, subject), y, groups)
    value.backward()
    return value.item(), [p.grad for p in model.parameters()], loss.log_temperature.grad  # type: ignore[return-value,misc]


def test_in_pieces_it_is_the_same() -> None:
    value, grads, heat = whole()
    model, loss = network(), MatchLoss(0.5, learnt=True).double()
    x, places, subject, y, groups = data()
    pieces = [slice(0, 3), slice(3, 6), slice(6, 8)]
    found = cached_backward(
        lambda s: model(x[s], places[s], subject[s]), pieces, lambda z: loss(z, y, groups)
    )
    assert float(found) == pytest.approx(value, abs=1e-12)
    for one, other in zip(model.parameters(), grads):
        torch.testing.assert_close(one.grad, other, rtol=0, atol=1e-12)
    torch.testing.assert_close(loss.log_temperature.grad, heat, rtol=0, atol=1e-12)


def test_pieces_draw_the_same_dropout_twice() -> None:
    x, drop = torch.randn(4, 50), nn.Dropout(0.5)
    weight = torch.ones(50, requires_grad=True)
    seen: list[torch.Tensor] = []

    def encode(s: slice) -> torch.Tensor:
        seen.append(drop(x[s] * weight))
        return seen[-1]

    torch.manual_seed(3)
    cached_backward(encode, [slice(0, 2), slice(2, 4)], lambda z: z.square().mean())
    assert torch.equal(seen[0], seen[2]) and torch.equal(seen[1], seen[3])


def on_one_of_two(rank: int, store: str, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    model, loss = network(), MatchLoss(0.5, learnt=True).double()
    x, places, subject, y, groups = data()
    mine = slice(0, 5) if rank == 0 else slice(5, 8)  # shares of different size
    both = nn.ModuleDict({"model": nn.parallel.DistributedDataParallel(model)})
    value = loss(both["model"](x[mine], places[mine], subject[mine]), y[mine], groups[mine])
    value.backward()
    a, b = (torch.ones(2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    ((gathered(a) + gathered(b)) * torch.arange(4.0)).sum().backward()  # one gradient goes to both
    sums = [a.grad, b.grad]
    torch.save(
        [value.item(), [p.grad for p in model.parameters()], loss.log_temperature.grad, sums],
        f"{folder}/{rank}.pt",
    )
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_are_one(tmp_path: Path) -> None:
    command = [sys.executable, __file__, str(tmp_path / "store"), str(tmp_path)]
    both = [subprocess.Popen([*command, str(rank)]) for rank in range(2)]
    assert [one.wait(timeout=60) for one in both] == [0, 0]
    value, grads, heat = whole()
    for rank in range(2):
        found, own, own_heat, sums = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found == pytest.approx(value, abs=1e-10)
        for one, other in zip(own, grads):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
        torch.testing.assert_close(own_heat, heat, rtol=0, atol=1e-10)
        for one in sums:
            assert one.tolist() == [2.0 * (2 * rank), 2.0 * (2 * rank + 1)]


def test_temperature_is_learnt_or_fixed() -> None:
    assert [name for name, _ in MatchLoss(0.1, learnt=True).named_parameters()] == ["log_temperature"]
    assert not list(MatchLoss(0.1).parameters()) and float(MatchLoss(0.1).temperature) == pytest.approx(0.1)


def test_candidates_come_from_files(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    np.savez(tmp_path / "a.npz", ids=np.array(["x", "y", "z"]), embeddings=values)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["ids"], file["embeddings"] = ["x", "y", "z"], values
    for name in ("a.npz", "a.h5"):
        names, found = read_candidates(tmp_path / name)
        assert names == ("x", "y", "z") and np.array_equal(found, values)
    np.savez(tmp_path / "b.npz", ids=np.array(["x", "x", "z"]), embeddings=values)
    with pytest.raises(HeschlError, match="'x' twice"):
        read_candidates(tmp_path / "b.npz")
    np.savez(
        tmp_path / "c.npz",
        ids=np.array(["x", "y", "z"]),
        embeddings=np.where(values == values[1], np.nan, values),
    )
    with pytest.raises(HeschlError, match="'y' is not finite"):
        read_candidates(tmp_path / "c.npz")
    (tmp_path / "d.h5").write_bytes(b"short")
    with pytest.raises(HeschlError, match="no file of candidates"):
        read_candidates(tmp_path / "d.h5")


# --- the network of segments -----------------------------------------------------------------------------------


def test_published_numbers_of_the_segment_encoder() -> None:
    model = SegmentEncoder((208, 360), 120, subjects=27)
    assert [m.conv.dilation[0] for m in (*model.early, *model.late)] == [1, 2, 4, 8, 16] * 2
    assert [m.glu is not None for m in (*model.early, *model.late)] == [False, True] * 5
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert count["merger"] == 270 * 2048 and count["personal"] == 27 * 270**2 and count["mix"] == 270 * 271
    first, other = 320 * 270 * 3 + 3 * 320, 320 * 320 * 3 + 3 * 320
    assert count["early"] + count["late"] == first + 9 * other + 5 * (320 * 640 + 640)


def test_subjects_have_their_own_matrix_and_strangers_the_mean() -> None:
    model = network().eval()
    x, places, subject, *_ = data()
    layer = model.personal
    seen = torch.randn(8, 4, 12, dtype=torch.float64)
    expected = torch.stack([layer.matrices[k] @ one for k, one in zip(subject, seen)])
    torch.testing.assert_close(layer(seen, subject), expected)
    stranger = layer(seen, torch.full((8,), -1))
    torch.testing.assert_close(stranger, layer(seen))
    torch.testing.assert_close(stranger[0], (layer.matrices[0] + layer.matrices[1]) / 2 @ seen[0])
    with pytest.raises(HeschlError, match="knows 2 subjects"):
        model(x, places, subject + 1)


if __name__ == "__main__":
    on_one_of_two(int(sys.argv[3]), sys.argv[1], sys.argv[2])
