"""Simulated listeners: the truth that was put in is found again."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from heschl.corpora import simulated_brain
from heschl.corpora import simulated_listener as sim
from heschl.corpora.frames import load_frames
from heschl.types import HeschlError


@pytest.fixture(scope="module")
def loud(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("loud")
    sim.simulate(root, words=3, subjects=2, blocks=2, voices=2, snr=40.0, response="evoked")
    return root


def test_patterns_frequencies_and_answers_are_the_stated_ones(loud: Path) -> None:
    corpus = sim.read(loud)
    recording = corpus.recordings[0]
    known = ~np.isnan(recording.positions).any(1)
    assert known.sum() == len(known) - 1
    x = np.stack([load_frames(clip).T for clip in corpus.clips if clip.labels["subject"] == "sub-01"])
    # evoked and loud: all trials lie in the span of four dipoles' patterns
    pattern = simulated_brain.dipoles(recording.positions[known])
    seen = x[:, known].transpose(1, 0, 2).reshape(known.sum(), -1)
    left = seen - pattern @ np.linalg.lstsq(pattern, seen, rcond=None)[0]
    assert np.square(left).sum() / np.square(seen).sum() < 2e-4
    assert x.std() == pytest.approx(1e-5, rel=1e-3)


def test_dipoles_kernels_and_noise() -> None:
    r = np.array([[0.05, 0.02, 0.09]])
    source = simulated_brain.SOURCES[0]
    q = np.array(source.moment) / np.linalg.norm(source.moment)
    h = 1e-6  # a dipole is a source and a sink, a hair apart
    plus, minus = (1 / np.linalg.norm(r[0] - (np.array(source.place) + s * h / 2 * q)) for s in (1, -1))
    assert simulated_brain.dipoles(r)[0, 0] == pytest.approx(
        (plus - minus) / h / (4 * np.pi * 0.33), rel=1e-6
    )
    kernel = simulated_brain.kernel(0.1, 1000.0)
    assert kernel.argmax() == 100 and kernel.sum() == pytest.approx(1)
    random = np.random.default_rng(0)
    noise = simulated_brain.background(40, simulated_brain.montage(0, random), 1024, random)
    power = np.square(np.abs(np.fft.rfft(noise * np.hanning(1024), axis=-1))).mean((0, 1))
    slope = np.polyfit(np.log(np.arange(8, 200)), np.log(power[8:200]), 1)[0]
    assert slope == pytest.approx(-1, abs=0.1)


def test_snr_is_the_stated_one() -> None:
    """Power of what differs between the same trials at two levels of noise."""
    folder_powers = []
    import tempfile

    for snr in (0.0, 60.0):
        with tempfile.TemporaryDirectory() as folder:
            sim.simulate(Path(folder), words=2, subjects=1, blocks=1, voices=2, snr=snr, response="evoked")
            with h5py.File(Path(folder) / "sub-01.h5") as file:
                x = np.asarray(file["x_data"], float)
                folder_powers.append(x / x.std())
    noisy, clean = folder_powers
    gain = (noisy * clean).mean() / np.square(clean).mean()
    signal, noise = gain**2 * np.square(clean).mean(), np.square(noisy - gain * clean).mean()
    assert 10 * np.log10(signal / noise) == pytest.approx(0.0, abs=1.0)


def test_sources_oscillate_at_their_frequencies() -> None:
    random = np.random.default_rng(0)
    drives = np.ones((4, 512))
    out = np.stack([simulated_brain.respond(drives, "induced", random) for _ in range(3)])
    for k, source in enumerate(simulated_brain.SOURCES):
        peak = np.abs(np.fft.rfft(out[:, k, 128:], axis=-1)).mean(0).argmax() * simulated_brain.RATE / 384
        assert peak == pytest.approx(source.frequency, abs=0.5)
    assert not np.allclose(out[0], out[1])  # the phase is another in each trial


def test_voices_belong_to_blocks_and_labels_can_be_shuffled(loud: Path) -> None:
    corpus = sim.read(loud)
    voices: dict[str, set[str]] = {}
    for clip in corpus.clips:
        voices.setdefault(clip.labels["heard"].split("/")[0], set()).add(clip.labels["block"])
    assert len(voices) == 4 and all(len(blocks) == 1 for blocks in voices.values())
    assert all(clip.labels["heard"].endswith("/" + clip.labels["word"]) for clip in corpus.clips)
    other = sim.read(loud, shuffled=True)
    moved = sum(a.labels["word"] != b.labels["word"] for a, b in zip(corpus.clips, other.clips))
    assert moved > len(corpus.clips) / 3 and any("shuffled" in note for note in other.notes)
    for block in ("00", "01"):
        words = [
            sorted(c.labels["word"] for c in one.clips if c.labels["block"] == block)
            for one in (corpus, other)
        ]
        assert words[0] == words[1]


def test_a_lead_field_may_be_given(tmp_path: Path) -> None:
    field = [np.zeros((28, 4))]
    field[0][5] = 1.0
    sim.simulate(tmp_path, words=2, subjects=1, blocks=1, voices=1, snr=60.0, leadfields=field)
    with h5py.File(tmp_path / "sub-01.h5") as file:
        power = np.square(np.asarray(file["x_data"])).mean((0, 2))
    assert power.argmax() == 5 and power[5] > 1e4 * np.delete(power, 5).max()
    with pytest.raises(HeschlError, match="lead field of subject 1"):
        sim.simulate(tmp_path, words=2, subjects=1, blocks=1, voices=1, leadfields=[np.zeros((3, 4))])


def test_a_carrier_alone_hears_the_word(tmp_path: Path) -> None:
    """Each source seen by a sensor of its own: the carrier's answers stay, the others' are those of other words of the block."""
    field = np.zeros((28, 4))
    field[np.arange(4), np.arange(4)] = 1.0
    waves, told = [], []
    for name in (None, "parietal"):
        root = tmp_path / str(name)
        sim.simulate(
            root, 6, 1, 2, 2, snr=60.0, response="evoked", carrier=name, leadfields=[field]
        )  # evoked answers draw nothing at random
        with h5py.File(root / "sub-01.h5") as file:
            x, blocks = np.asarray(file["x_data"], float)[:, :4], file["blocks"].asstr()[:]
        waves.append(x / x.std())
        told.append(sim.read(root).clips[0].labels["simulated"])
    whole, alone = waves
    apart = np.sqrt(np.square(whole[:, None] - alone[None]).mean(-1))  # (trial, trial, source)
    assert (np.diagonal(apart[..., 3]) < 0.02).all()
    for source in range(3):
        nearest = apart[..., source].argmin(0)  # the trial whose answer each now has
        assert sorted(nearest) == list(range(24)) and (blocks[nearest] == blocks).all()
        assert (nearest != np.arange(24)).sum() > 12
        assert apart[nearest, np.arange(24), source].max() < 0.02
    assert "parietal source alone" in told[1] and "alone" not in told[0]
    with pytest.raises(HeschlError, match="carrier is 'occipital': choose one of left temporal"):
        sim.simulate(tmp_path / "x", carrier="occipital")


def test_it_is_simulated_once_and_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HESCHL_CACHE", str(tmp_path))
    small = {"words": 2, "subjects": 1, "blocks": 1, "voices": 1}
    one, again = sim.read(**small), sim.read(**small)
    assert one.clips == again.clips and len(list(tmp_path.iterdir())) == 1
    sim.read(**small, snr=3.0)
    folders = sorted(path for path in tmp_path.iterdir())
    assert len(folders) == 2
    told = [json.loads((folder / "truth.json").read_text())["options"]["snr"] for folder in folders]
    assert sorted(told) == [0.0, 3.0]
    assert one.synthetic and "simulated" in one.notes[0]


def test_bad_options(tmp_path: Path) -> None:
    for options in (
        {"words": 1},
        {"words": 31},
        {"blocks": 40, "voices": 40},
        {"response": "felt"},
        {"subjects": 0},
        {"seed": -1},
        {"snr": float("inf")},
    ):
        with pytest.raises(HeschlError):
            sim.simulate(tmp_path / "x", **options)  # type: ignore[arg-type]
    with pytest.raises(HeschlError, match="seed is -1"):
        sim.read(seed=-1)
    (tmp_path / "truth.json").write_text('{"options": {"response": "induced", "snr": "loud"}}')
    with pytest.raises(HeschlError, match="does not tell how these were simulated"):
        sim.read(tmp_path)
    (tmp_path / "truth.json").write_text(
        '{"options": {"response": "induced", "snr": 0, "seed": 0}, "sources": []}'
    )
    (tmp_path / "sub-01.h5").write_bytes(b"cut")
    with pytest.raises(HeschlError, match="no subject that can be read"):
        sim.read(tmp_path)


@pytest.mark.slow
def test_other_noise_is_another_corpus(tmp_path: Path) -> None:
    """A run is named after its corpus: what was trained at one noise level must not pass for another."""
    from heschl.corpora import fingerprint

    made = []
    for name, options in (("a", {}), ("b", {"snr": 20.0}), ("c", {"response": "evoked"}), ("d", {"seed": 1})):
        sim.simulate(tmp_path / name, **{"words": 2, "subjects": 1, "blocks": 2, "voices": 1, **options})
        made.append(fingerprint(sim.read(tmp_path / name)))
    assert len(set(made)) == 4
