"""Activity over long sounds, and its file."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
import pytest
import torch
from torch import nn

import heschl
from heschl.brain.activity_file import read_activity, write_activity
from heschl.brain.continuous import record_long
from heschl.features.context import Context
from heschl.models.crnn import CRNN
from heschl.models.frame_mlp import FrameMLP
from heschl.types import HeschlError


class Frames(nn.Module):
    """Hears 3 + 5 + ... samples round each step, in strides of 2 and 4."""

    frames = True
    areas: ClassVar[dict[str, str]] = {"early": "one", "late": "two"}

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv1d(2, 3, 3, 2, 1), nn.Conv1d(3, 4, 5, 2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.two(self.one(x).relu())
        return y


def test_windows_follow_one_another_without_a_seam() -> None:
    torch.manual_seed(0)
    model, sound = Frames().double(), torch.randn(2, 1003, dtype=torch.float64)
    whole = heschl.record(model, sound[None], 100.0, start=0.5)
    told: list[tuple[int, int]] = []
    said: list[str] = []
    found = record_long(
        model, sound, 100.0, window=1.2, hop=0.5, left=0.31, start=0.5, passes=10,
        progress=lambda *one: told.append(one), say=said.append,
    )  # fmt: skip
    assert (found.hop, found.left) == (0.48, 0.28)  # whole steps of four samples
    assert found.right == pytest.approx(1.2 - 0.48 - 0.28)
    for area, one in whole.items():
        long = found.activity[area]
        assert torch.allclose(long.times, one.times, atol=1e-9)
        middle = slice(3, -3)  # the ends hear silence here, and the network's own padding there
        assert torch.allclose(long.values[:, middle], one.values[:, middle], atol=1e-12)
    assert told[-1] == (21, 21)
    assert "210 windows" in said[0]
    assert found.notes == ()


def test_one_answer_for_each_window_where_an_area_has_no_time() -> None:
    class Clips(Frames):
        frames = False
        areas: ClassVar[dict[str, str]] = {"early": "one", "whole": "dense"}

        def __init__(self) -> None:
            super().__init__()
            self.flatten, self.dense = nn.Flatten(), nn.Linear(4 * 25, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.dense(self.flatten(super().forward(x)))
            return y

    torch.manual_seed(0)
    model, sound = Clips(), torch.randn(2, 400)
    with pytest.warns(UserWarning, match="answers for clips"):
        found = record_long(model, sound, 100.0, window=1.0, hop=0.2, left=0.4)
    whole = found.activity["whole"]
    assert torch.allclose(whole.times, torch.arange(20, dtype=torch.float64) * 0.2 + 0.495 - 0.4)
    assert torch.allclose(whole.values[0, 5], model(sound[None, :, 60:160])[0], atol=1e-6)
    assert len(found.notes) == 2


def test_frames_of_windows_through_their_feature() -> None:
    torch.manual_seed(0)
    feature = Context(sample_rate=8000, context=3)
    wave = torch.randn(8000 * 3)
    windows = feature(wave[None])[0].movedim(-1, 0)  # (step, frame, mel)
    model = FrameMLP(tuple(windows.shape[1:]), 5, widths=(8, 6)).eval()
    found = record_long(model, wave, 8000.0, feature, window=1.5, hop=0.8, left=0.4)
    late = found.activity["hidden2"]
    with torch.no_grad():
        expected = model.hidden(model.flatten(windows))
    n = min(len(expected), late.values.shape[1])
    steps = slice(20, n - 20)
    assert torch.allclose(late.values[0, steps], expected[steps], atol=1e-4)
    assert torch.allclose(late.times.diff(), torch.tensor(1 / feature.rate, dtype=torch.float64))
    assert float(late.times[0]) == pytest.approx(feature.start)


def test_windows_that_do_not_fit_are_refused() -> None:
    sound = torch.randn(2, 400)
    with pytest.raises(HeschlError, match="lengthen it"):
        record_long(Frames(), sound, 100.0, window=1.0, hop=0.9, left=0.4)
    with pytest.raises(HeschlError, match="shorter than a step"):
        record_long(Frames(), sound, 100.0, window=1.0, hop=0.02, left=0.4)
    with pytest.raises(HeschlError, match="finite"):
        record_long(Frames(), sound / 0, 100.0)


def test_the_three_matrices_are_read_by_one_line_of_h5py(tmp_path: Path) -> None:
    torch.manual_seed(0)
    found = heschl.record(CRNN((40, 30), 5, hidden_1=8, hidden_2=6), torch.randn(3, 40, 30), 100)
    write_activity(tmp_path / "activity.h5", found, ["a", "b", "c"])
    assert h5py.File(tmp_path / "activity.h5")["STG"][:].shape == (3, 30, 31)
    back = read_activity(tmp_path / "activity.h5")
    assert list(back) == ["STG", "TP", "IFG"]
    for area, one in back.items():
        assert torch.equal(one.values, found[area].values)
        assert torch.equal(one.times, found[area].times)
    with pytest.raises(HeschlError, match="2 clips"):
        write_activity(tmp_path / "other.h5", found, ["a", "b"])
    assert not (tmp_path / "other.h5").exists()
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(HeschlError, match="text.h5 holds no activity"):
        read_activity(tmp_path / "text.h5")
    assert np.isfinite(back["TP"].values.numpy()).all()
