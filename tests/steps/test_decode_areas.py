"""Which areas drive retrieval: the part that is taken out against least squares, and an area that was planted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from heschl.corpora import simulated_brain
from heschl.corpora import simulated_listener as sim
from heschl.corpora.sensors import sensors_of
from heschl.features.brain_wave import BrainWave
from heschl.files import read_csv
from heschl.steps.decode_areas import areas_that_drive, as_elsewhere
from heschl.steps.decode_exchange import Head, exchanged, gain_of, share
from heschl.steps.decode_linear import Decoded
from heschl.steps.networks import Network
from heschl.steps.networks import answers as answers_of
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
    from heschl.brain.areas import read_areas
    from heschl.brain.patch import patch

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


def test_what_a_place_would_lose_is_the_prediction_of_least_squares() -> None:
    random = np.random.default_rng(0)
    shares = random.uniform(0.02, 0.3, 9)
    lost = 0.05 + 0.8 * shares + 0.02 * random.standard_normal(9)
    design, new = np.c_[np.ones(9), shares], np.array([1.0, 0.5])
    found, *_ = np.linalg.lstsq(design, lost, rcond=None)
    spread = np.square(lost - design @ found).sum() / 7 * (1 + new @ np.linalg.inv(design.T @ design) @ new)
    half = stats.t.ppf(0.975, 7) * np.sqrt(spread)
    np.testing.assert_allclose(
        as_elsewhere(shares, lost, 0.5), [new @ found, new @ found - half, new @ found + half]
    )
    # more of the signal never costs less: the mean then, and of equal shares too
    middle, low, high = as_elsewhere(shares, -lost, 0.5, 0.9)
    assert middle == pytest.approx(-lost.mean())
    assert (
        high - middle == pytest.approx(stats.t.ppf(0.95, 8) * lost.std(ddof=1) * np.sqrt(1 + 1 / 9))
        and low < middle
    )
    assert as_elsewhere(np.full(9, 0.1), lost, 0.5)[0] == pytest.approx(lost.mean())


def test_so_many_places_in_a_hundred_lie_in_the_interval() -> None:
    random, inside = np.random.default_rng(1), []
    for _ in range(2000):
        shares = random.uniform(0, 0.3, 9)
        lost = 0.1 + shares + 0.05 * random.standard_normal(9)
        shares[-1], lost[-1] = 0.6, 0.7 + 0.05 * random.standard_normal()  # beyond the others
        _, low, high = as_elsewhere(shares[:-1], lost[:-1], shares[-1], 0.9)
        inside.append(low < lost[-1] < high)
    assert np.mean(inside) == pytest.approx(0.9, abs=0.025)


def field(sources: Sequence[np.ndarray]) -> np.ndarray:
    """(sensor, patch) of the first simulated listener's electrodes by the template's own lead field."""
    mne = pytest.importorskip("mne")
    from heschl.brain.forward import leadfield
    from heschl.brain.sensors import sensors_info

    places = simulated_brain.montage(0, np.random.default_rng((0, 0)))
    at = {f"e{k}": place for k, place in enumerate(places)}
    gain = leadfield(sensors_info(mne.channels.make_dig_montage(at, coord_frame="head")))
    return np.stack([gain[:, one].mean(1) for one in sources], axis=1)


def planted(
    folder: Path,
    tell: Sequence[np.ndarray],
    more: Sequence[np.ndarray] = (),
    size: float = 2.0,
    told: bool = False,
) -> dict[str, Any]:
    """What is found of a simulated listener whose four sources lie at ``tell`` and hear the word; four ``more``, so many times as
    large on the electrodes, hear another trial's word, or the same where it is ``told``."""
    sim.simulate(
        folder / "data",
        words=6,
        subjects=1,
        blocks=12,
        voices=4,
        snr=20.0 if more else 5.0,
        response="evoked",
        leadfields=[field(tell)],
    )
    corpus = sim.read(folder / "data")
    if more:
        answers = np.linalg.pinv(field(tell))
        with h5py.File(corpus.recordings[0].signal, "r+") as file:
            x = file["x_data"][:].astype(float)
            order = np.arange(len(x)) if told else np.random.default_rng(3).permutation(len(x))
            other = field(more) @ (answers @ x[order])
            file["x_data"][:] = x + size * other * x.std() / other.std()
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
    logits = np.stack([one.logits for one in answers_of(network, unheard)])
    held = Decoded(None, corpus, network, unheard, y[test], logits)  # type: ignore[arg-type]
    return areas_that_drive(held, folder / "out", "simulated brains")


def test_where_nothing_is_exchanged_nothing_is_lost(tmp_path: Path) -> None:
    """Whatever the electrodes are referenced to: what they share is the reference's, and tells this network all."""
    sim.simulate(tmp_path, words=4, subjects=1, blocks=3, voices=4, snr=20.0, response="evoked")
    corpus = sim.read(tmp_path)
    sensors = sensors_of(corpus)
    assert sensors is not None
    clips, words = list(corpus.clips), sorted({clip.labels["word"] for clip in corpus.clips})
    x = np.stack([sensors.load(clip).T for clip in clips])
    y = np.array([words.index(clip.labels["word"]) for clip in clips])
    network = Network(
        Means(x.mean(1, keepdims=True).repeat(x.shape[1], 1), y, 4),
        BrainWave(simulated_brain.RATE, scale="none", clip=None),
        tuple(words),
        None,
        "centre",
        "zeros",
        frames=False,
        sensors=sensors,
    )
    logits = np.stack([one.logits for one in answers_of(network, clips)])
    held = Decoded(None, corpus, network, clips, y, logits)  # type: ignore[arg-type]
    assert (logits.argmax(1) == y).mean() > 0.5
    rows = np.flatnonzero(np.isfinite(sensors.positions[0]).all(1))
    gain = np.random.default_rng(0).standard_normal((len(rows), 20))
    heads = {corpus.recordings[0].id: Head(rows, gain - gain.mean(0))}
    lost, top, signal = exchanged(held, range(len(clips)), heads, np.arange(3), power=1e-12)
    assert signal < 1e-9 and np.abs(lost).max() == np.abs(top).max() == 0


def auditory(side: str) -> list[np.ndarray]:
    pytest.importorskip("nilearn")
    from heschl.brain.areas import read_areas
    from heschl.brain.patch import patch

    return [patch(read_areas().areas[f"{name}{side}"]).sources for name in ("HG", "STG", "HG", "STG")]


@pytest.mark.slow
def test_the_area_that_was_planted_is_found(tmp_path: Path) -> None:
    """All four sources of a simulated listener lie in right auditory cortex, seen by the template's own lead field."""
    from heschl.brain.areas import read_areas

    found = planted(tmp_path, auditory("-R"))
    assert "HG-R" in found["rows"][0]["areas"].split(" + ")
    assert found["above_elsewhere"] == [found["rows"][0]["areas"]], (found["rows"], found["elsewhere"])
    assert found["rows"][1]["lost"] < found["rows"][0]["lost"] / 5  # those of the other hemisphere
    joined = [name for row in found["rows"] for name in row["areas"].split(" + ")]
    assert sorted(joined) == sorted(read_areas().areas)  # each area once
    talk = np.array(found["cross_talk"]["matrix"])
    names = found["cross_talk"]["names"]
    for i, j in zip(*np.nonzero(talk > 0.5), strict=True):
        assert any({names[i], names[j]} <= set(row["areas"].split(" + ")) for row in found["rows"])
    assert len(read_csv(tmp_path / "out" / "areas.csv")) == len(found["rows"]) + len(found["elsewhere"])
    assert (tmp_path / "out" / "areas.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_small_share_that_tells_all_is_found_and_a_large_one_that_tells_nothing_is_not(
    tmp_path: Path,
) -> None:
    """Right auditory cortex alone hears the word, and the left, far louder, other trials' words."""
    found = planted(tmp_path, auditory("-R"), auditory(""))
    right, left = (
        next(row for row in found["rows"] if name in row["areas"].split(" + ")) for name in ("HG-R", "HG")
    )
    assert right["signal"] < left["signal"] / 3 and left["signal"] > 0.3
    assert found["above_elsewhere"] == [right["areas"]], (found["rows"], found["elsewhere"])


@pytest.mark.slow
def test_no_area_is_found_where_another_place_tells(tmp_path: Path) -> None:
    """A patch far from the areas hears the word, and left auditory cortex, far louder, other trials' words."""
    pytest.importorskip("nilearn")
    from heschl.steps.decode_areas import _elsewhere

    own = np.unique(np.concatenate(auditory("") + auditory("-R")))
    found = planted(tmp_path, np.array_split(_elsewhere(140, own, 9)[0], 4), auditory(""))
    assert found["above_elsewhere"] == [], (found["rows"], found["elsewhere"])
    assert max(row["signal"] for row in found["rows"]) > 0.3
    assert max(row["lost"] for row in found["elsewhere"]) > 0.05


@pytest.mark.slow
def test_the_loudest_of_many_places_that_tell_alike_is_not_found(tmp_path: Path) -> None:
    """Left auditory cortex and twelve patches elsewhere hear the same word: it holds more of the signal and loses more than most of
    those that it is compared with; but no more than its share."""
    pytest.importorskip("nilearn")
    from heschl.steps.decode_areas import _elsewhere

    own = np.unique(np.concatenate(auditory("") + auditory("-R")))
    many = _elsewhere(140, own, 9)[:12]
    found = planted(tmp_path, auditory(""), [np.concatenate(many[k::4]) for k in range(4)], 0.6, told=True)
    left = found["rows"][0]
    assert "HG" in left["areas"].split(" + ") and left["low"] > 0 and left["signal"] > 0.25
    assert left["lost"] > 2 * np.median([row["lost"] for row in found["elsewhere"]])
    assert found["above_elsewhere"] == [], (found["rows"], found["elsewhere"])
