"""Which areas drive retrieval: the part that is taken out against least squares, and an area that was planted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from heschl.corpora import simulated_brain
from heschl.corpora import simulated_listener as sim
from heschl.corpora.sensors import sensors_of
from heschl.features.brain_wave import BrainWave
from heschl.files import read_csv
from heschl.steps.decode_areas import areas_that_drive, gain_of, share
from heschl.steps.decode_linear import Decoded
from heschl.steps.networks import Network, answers
from heschl.tasks.linear_decode import fit_lda


def test_the_part_of_an_area_is_its_own_in_penalised_least_squares_over_all_sources() -> None:
    random = np.random.default_rng(0)
    gain, x = random.standard_normal((9, 14)), random.standard_normal((9, 7))
    own = np.array([2, 3, 11])
    power = np.full(14, 9 / np.square(np.delete(gain, own, 1)).sum())
    power[own] = 0.4 * 9 / np.square(gain[:, own]).sum()
    stacked = np.vstack([3 * gain, np.diag(power**-0.5)])
    moments = np.linalg.lstsq(stacked, np.vstack([3 * x, np.zeros((14, 7))]), rcond=None)[0]
    np.testing.assert_allclose(share(gain, own, 0.4) @ x, gain[:, own] @ moments[own], atol=1e-12)


@pytest.mark.slow
def test_an_area_takes_its_own_and_leaves_its_rivals() -> None:
    """Of the fields of single sources of the template, at 28 electrodes: an estimate without rivals takes most of any of them."""
    pytest.importorskip("mne")
    pytest.importorskip("nilearn")
    from heschl.brain.areas import patch, read_areas

    table = read_areas().areas
    left, right = (
        np.concatenate([patch(table[f"{name}{side}"]).sources for name in ("HG", "STG")])
        for side in ("", "-R")
    )
    _, gain, _ = gain_of(simulated_brain.montage(0, np.random.default_rng((0, 0))))
    away = np.random.default_rng(0).permutation(np.setdiff1d(np.arange(gain.shape[1]), np.r_[left, right]))[
        :200
    ]

    def taken(part: np.ndarray, of: np.ndarray) -> float:
        field = gain[:, of]
        return float(np.mean(1 - np.square(field - part @ field).sum(0) / np.square(field).sum(0)))

    for own, other in ((left, right), (right, left)):
        part, alone = share(gain, own), gain[:, own] @ gain[:, own].T
        alone = np.linalg.solve(alone + np.trace(alone) / len(alone) / 9 * np.eye(len(alone)), alone).T
        assert taken(part, own) > 0.85 and taken(part, other) < 0.1 and taken(part, away) < 0.35
        assert taken(alone, other) > 0.4 and taken(alone, away) > 0.6


class Means(nn.Module):
    """Linear discriminants on 8 means over time of every sensor."""

    def __init__(self, x: np.ndarray, y: np.ndarray, words: int) -> None:
        super().__init__()
        self.words = words
        self.found = fit_lda(self.parts(torch.from_numpy(x)), y, words)

    def parts(self, x: torch.Tensor) -> np.ndarray:
        return nn.functional.adaptive_avg_pool1d(x.double(), 8).flatten(1).numpy()

    def forward(
        self, x: torch.Tensor, positions: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> torch.Tensor:
        return torch.from_numpy(self.found.scores(self.parts(x)))


@pytest.mark.slow
def test_the_area_that_was_planted_is_found(tmp_path: Path) -> None:
    """All four sources of a simulated listener lie in right auditory cortex, seen by the template's own lead field."""
    mne = pytest.importorskip("mne")
    pytest.importorskip("nilearn")
    from heschl.brain.areas import patch, read_areas
    from heschl.brain.forward import leadfield
    from heschl.brain.sensors import sensors_info

    places = simulated_brain.montage(0, np.random.default_rng((0, 0)))
    at = {f"e{k}": place for k, place in enumerate(places)}
    info = sensors_info(mne.channels.make_dig_montage(at, coord_frame="head"))
    table = read_areas()
    own = [patch(table.areas[name]).sources for name in ("HG-R", "STG-R", "HG-R", "STG-R")]
    gain = np.stack([leadfield(info)[:, one].mean(1) for one in own], axis=1)
    sim.simulate(
        tmp_path / "data",
        words=6,
        subjects=1,
        blocks=12,
        voices=4,
        snr=5.0,
        response="evoked",
        leadfields=[gain],
    )
    corpus = sim.read(tmp_path / "data")
    sensors = sensors_of(corpus)
    assert sensors is not None
    clips, words = list(corpus.clips), sorted({clip.labels["word"] for clip in corpus.clips})
    x = np.stack([sensors.load(clip).T for clip in clips])
    y = np.array([words.index(clip.labels["word"]) for clip in clips])
    blocks = sorted({clip.labels["block"] for clip in clips})
    test = np.array([blocks.index(clip.labels["block"]) % 3 == 2 for clip in clips])
    feature = BrainWave(simulated_brain.RATE, scale="none", clip=None)
    network = Network(
        Means(x[~test], y[~test], 6),
        feature,
        tuple(words),
        None,
        "centre",
        "zeros",
        frames=False,
        sensors=sensors,
    )
    unheard = [clip for clip, own in zip(clips, test, strict=True) if own]
    logits = np.stack([one.logits for one in answers(network, unheard)])
    held = Decoded(None, corpus, network, unheard, y[test], logits)  # type: ignore[arg-type]
    found = areas_that_drive(held, tmp_path / "out", "simulated brains")
    assert "HG-R" in found["rows"][0]["areas"].split(" + ")
    assert found["above_elsewhere"][:1] == [found["rows"][0]["areas"]], (found["rows"], found["elsewhere"])
    assert found["rows"][1]["lost"] < found["rows"][0]["lost"] / 5  # those of the other hemisphere
    joined = [name for row in found["rows"] for name in row["areas"].split(" + ")]
    assert sorted(joined) == sorted(table.areas)  # each area once
    talk = np.array(found["cross_talk"]["matrix"])
    names = found["cross_talk"]["names"]
    for i, j in zip(*np.nonzero(talk > 0.5), strict=True):
        assert any({names[i], names[j]} <= set(row["areas"].split(" + ")) for row in found["rows"])
    assert len(read_csv(tmp_path / "out" / "areas.csv")) == len(found["rows"]) + len(found["elsewhere"])
    assert (tmp_path / "out" / "areas.png").stat().st_size > 10_000
