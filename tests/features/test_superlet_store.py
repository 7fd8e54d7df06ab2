from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from heschl.features.superlet import superlet
from heschl.features.superlet_store import open_maps, store_maps
from heschl.types import HeschlError

FREQS = [4.0, 9.0, 20.0]
OPTIONS: dict[str, Any] = {"order": (1, 3), "decim": 4}


def volts(trials: int = 7) -> np.ndarray:
    return 1e-5 * np.random.default_rng(0).standard_normal((trials, 3, 80)).astype(np.float32)


def test_maps_come_back(tmp_path: Path) -> None:
    x = volts()
    words = list("abcabca")
    found = store_maps(
        tmp_path / "m.h5", x, 100, FREQS, batch=3, beside={"words": words, "ids": np.arange(7)}, **OPTIONS
    )
    expected = superlet(torch.from_numpy(x), 100, FREQS, output="log-power", **OPTIONS).numpy()
    assert found.shape == expected.shape == (7, 3, 3, 20) and found.rate == 25.0
    assert (
        np.abs(found[:] - expected).max() < 2e-3 * found.scale * 4
    )  # half a unit of float16 at four deviations
    assert np.exp(expected).astype(np.float16).max() == 0  # what power itself would have come to
    for index in (2, slice(1, 5), [5, 0, 0]):
        assert np.array_equal(pickle.loads(pickle.dumps(found))[index], found[:][index])
    assert np.array_equal(np.concatenate(list(found.batches(3))), found[:])
    import h5py

    with h5py.File(tmp_path / "m.h5") as file:
        assert list(file["words"].asstr()) == words and file["x_data"].dtype == np.float16
        assert file["x_data"].chunks == (1, 3, 3, 20)
    assert [path.name for path in tmp_path.iterdir()] == ["m.h5"]


def test_silent_channels_and_processes(tmp_path: Path) -> None:
    x = volts(4)
    x[:, 1] = 0
    found = store_maps(tmp_path / "a.h5", x, 100, FREQS, **OPTIONS)
    expected = superlet(torch.from_numpy(x), 100, FREQS, output="log-power", **OPTIONS).numpy()
    assert np.abs(found[:] - expected)[:, [0, 2]].max() < 0.02 and np.abs(found[:] - expected).max() < 0.2


@pytest.mark.slow
def test_processes_change_nothing(tmp_path: Path) -> None:
    x = volts(4)
    one = store_maps(tmp_path / "a.h5", x, 100, FREQS, **OPTIONS)
    two = store_maps(tmp_path / "b.h5", x, 100, FREQS, jobs=2, **OPTIONS)
    assert np.array_equal(one[:], two[:])


class Counted:
    """Trials that remember what was asked of them, and fail at one."""

    def __init__(self, x: np.ndarray, fail: int | None = None) -> None:
        self.x, self.fail, self.asked = x, fail, []

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, row: int) -> np.ndarray:
        self.asked.append(row)
        if row == self.fail:
            raise KeyboardInterrupt
        return self.x[row]


def test_it_goes_on_where_it_was_broken_off(tmp_path: Path) -> None:
    x, path = volts(), tmp_path / "m.h5"
    with pytest.raises(KeyboardInterrupt):
        store_maps(path, Counted(x, fail=5), 100, FREQS, batch=2, **OPTIONS)
    assert not path.exists()
    with pytest.raises(HeschlError, match="not finished"):
        open_maps(tmp_path / "m.h5.part")
    again = Counted(x)
    found = store_maps(path, again, 100, FREQS, batch=2, **OPTIONS)
    assert again.asked == [0, 4, 5, 6]  # the first, to know it by
    whole = store_maps(tmp_path / "whole.h5", x, 100, FREQS, batch=2, **OPTIONS)
    assert np.array_equal(found[:], whole[:])
    third = Counted(x)
    store_maps(path, third, 100, FREQS, batch=2, **OPTIONS)
    assert third.asked == [0]


@pytest.mark.slow
def test_a_killed_process_is_taken_up(tmp_path: Path) -> None:
    """Killed by the system in the middle of its work, not by an exception."""
    code = f"""
        import os, signal, numpy as np
        from heschl.features.superlet_store import store_maps
        x = 1e-5 * np.random.default_rng(0).standard_normal((7, 3, 80)).astype(np.float32)
        class Trials:
            def __len__(self): return len(x)
            def __getitem__(self, row):
                if row == 4: os.kill(os.getpid(), signal.SIGKILL)
                return x[row]
        store_maps({str(tmp_path / "m.h5")!r}, Trials(), 100, {FREQS}, batch=2, **{OPTIONS})
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False, env={**os.environ})
    assert killed.returncode == -signal.SIGKILL
    rest = Counted(volts())
    found = store_maps(tmp_path / "m.h5", rest, 100, FREQS, batch=2, **OPTIONS)
    assert rest.asked == [0, 4, 5, 6]
    assert np.array_equal(found[:], store_maps(tmp_path / "w.h5", volts(), 100, FREQS, batch=2, **OPTIONS)[:])


def test_refusals(tmp_path: Path) -> None:
    x, path = volts(), tmp_path / "m.h5"
    store_maps(path, x, 100, FREQS, **OPTIONS)
    with pytest.raises(HeschlError, match="other trials or options"):
        store_maps(path, x, 100, FREQS, order=2, decim=4)
    with pytest.raises(HeschlError, match="other trials or options"):
        store_maps(path, x + 1e-5, 100, FREQS, **OPTIONS)
    said: list[str] = []
    (tmp_path / "n.h5.part").write_bytes(b"no file of maps")
    store_maps(tmp_path / "n.h5", x, 100, FREQS, say=said.append, **OPTIONS)
    assert "begun anew" in said[0]
    x[3, 1, 5] = np.nan
    with pytest.raises(HeschlError, match="trial 3: .*not finite"):
        store_maps(tmp_path / "o.h5", x, 100, FREQS, **OPTIONS)
    with pytest.raises(HeschlError, match="cannot be seen"):
        store_maps(tmp_path / "p.h5", x, 100, [60.0])
    with pytest.raises(HeschlError, match="trial 1 has shape"):
        store_maps(tmp_path / "p.h5", [x[0], x[0, :, :50]], 100, FREQS)
    with pytest.raises(HeschlError, match="must be"):
        store_maps(tmp_path / "p.h5", x[0], 100, FREQS)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(HeschlError, match="damaged"):
        open_maps(path)
    with pytest.raises(HeschlError, match="not there"):
        open_maps(tmp_path / "none.h5")


def test_a_store_is_a_corpus_whose_maps_are_those_of_the_raw_trials(tmp_path: Path) -> None:
    """Written with words, channels, places and blocks beside, and read back as the trials of a recipe."""
    from heschl.corpora import imagined
    from heschl.corpora.sensors import sensors_of
    from heschl.features.brain_maps import BrainMaps

    random = np.random.default_rng(3)
    x = 1e-5 * random.standard_normal((6, 5, 128)).astype(np.float32)
    places = random.normal(0, 0.05, (5, 3))
    raw = BrainMaps(128.0, 4.0, 40.0, 6, order=(1, 2), decim=2)
    beside = {"y_data": ["a", "b"] * 3, "channels": list("VWXYZ"), "positions": places}
    beside["blocks"] = ["1", "1", "2", "2", "3", "3"]
    store_maps(tmp_path / "sub-01.h5", x, 128.0, raw.frequencies, decim=2, order=(1, 2), beside=beside)
    corpus = imagined.read(tmp_path)
    (recording,) = corpus.recordings
    assert recording.channels == tuple("VWXYZ") and recording.rate == 64.0 and recording.space == "head"
    np.testing.assert_allclose(recording.positions, places)
    assert [clip.labels["word"] for clip in corpus.clips] == ["a", "b"] * 3
    assert [clip.labels["block"] for clip in corpus.clips] == beside["blocks"]
    sensors = sensors_of(corpus)
    assert sensors is not None
    held = torch.from_numpy(np.stack([sensors.load(clip) for clip in corpus.clips])).movedim(1, -1)
    stored = BrainMaps(64.0, 4.0, 40.0, 6, stored=True)
    torch.testing.assert_close(stored(held), raw(torch.from_numpy(x)), rtol=0, atol=5e-3)


def test_a_full_disk_stops_nothing_half_way(tmp_path: Path) -> None:
    """Room is taken before anything is computed; where there is none, it is said, and nothing is left behind."""
    resource = pytest.importorskip("resource")
    x, soft = volts(60), resource.getrlimit(resource.RLIMIT_FSIZE)
    computed: list[int] = []

    class Watched:
        def __len__(self) -> int:
            return len(x)

        def __getitem__(self, row: int) -> np.ndarray:
            computed.append(row)
            return x[row]

    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, soft[1]))
    try:
        with pytest.raises(
            HeschlError, match=r"m\.h5 is larger than may be written here \(File too large\): free"
        ) as told:
            store_maps(tmp_path / "m.h5", Watched(), 100, FREQS, **OPTIONS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, soft)
    assert "\n" not in str(told.value) and set(computed) == {0} and not list(tmp_path.iterdir())
    found = store_maps(tmp_path / "m.h5", x, 100, FREQS, **OPTIONS)
    file = tmp_path / "m.h5"
    assert len(found) == 60 and file.stat().st_blocks * 512 >= file.stat().st_size  # no holes
