"""Published layouts of people who listened to stories, on tiny trees."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest
import torch
from scipy.io import loadmat, savemat

from heschl.corpora import brennan, broderick, libribrain, listening, mous
from heschl.corpora.split import fractions
from heschl.corpora.trials import trials
from heschl.features.speech import Speech
from heschl.features.vad import Detected, energy
from heschl.files import read_audio, read_csv, write_csv
from heschl.tasks.textgrid import write_textgrid
from heschl.training.apart import kept_apart
from heschl.types import HeschlError, Span

mne = pytest.importorskip("mne")


def test_broderick(tmp_path: Path) -> None:
    broderick.write_tiny(tmp_path)
    corpus = broderick.read(tmp_path)
    assert [one.id for one in corpus.recordings] == ["01/run-01", "01/run-02", "02/run-01", "02/run-02"]
    x, labels, rate, channels, positions = trials(corpus.recordings[2])
    assert x.shape == (6, 4, 384) and rate == 128.0 and channels == ("A1", "A2", "A3", "A4")
    assert labels["word"] == ("he", "was", "an", "old", "man", "who") and set(labels["block"]) == {"01"}
    eeg = loadmat(tmp_path / "Natural Speech/EEG/Subject2/Subject2_Run1.mat")["eegData"].T
    first = round((3.5 - 0.5) * 128)  # the second word begins at 3.5 s
    assert np.allclose(x[1], 1e-6 * eeg[:, first : first + 384])
    assert positions is not None and np.isfinite(positions).all()
    heard = {one.id: trials(one).labels["heard"] for one in corpus.recordings}
    assert (
        heard["01/run-01"] == heard["02/run-01"] != heard["01/run-02"]
    )  # the same sounds for both listeners


def test_brennan(tmp_path: Path) -> None:
    brennan.write_tiny(tmp_path)
    corpus = brennan.read(tmp_path, start=0.0, stop=1.0)
    x, labels, rate, channels, _ = trials(corpus.recordings[0])
    assert (
        channels == ("1", "2", "3", "4") and x.shape == (8, 4, 100) and rate == 100.0
    )  # the eye's is left out
    assert labels["block"] == ("01",) * 4 + ("02",) * 4 and labels["word"][:3] == (
        "Alice",
        "was",
        "beginning",
    )
    raw = loadmat(tmp_path / "S01.mat", simplify_cells=True)["raw"]["trial"]
    assert np.allclose(x[3], 1e-6 * raw[:4, 850:950])  # MATLAB's sample 851 is at 8.5 s
    assert not corpus.skipped
    short = brennan.read(tmp_path, start=-2.0, stop=1.0)
    assert len(short.clips) == 14
    assert [one.where for one in short.skipped] == [f"S0{k}.mat, Alice at 1.000 s" for k in (1, 2)]
    assert short.skipped[0].why == "-2 to 1 s around it reach outside the recording of 25.00 s"


def test_brennans_marked_channels_are_left_out_by_name(tmp_path: Path) -> None:
    """MATLAB's cells of names, one name alone and an empty matrix, as their scripts leave them."""
    brennan.write_tiny(tmp_path)
    for subject, marks in (
        (
            "S01",
            {"impedence": {"bads": np.array(["2"], object)}, "rejections": {"badchans": np.zeros((0, 0))}},
        ),
        (
            "S02",
            {
                "impedence": {"bads": np.array(["3", "VEOG"], object)},
                "rejections": {"badchans": np.array(["1", "3"], object)},
            },
        ),
    ):
        path = tmp_path / "proc" / f"{subject}.mat"
        savemat(path, {"proc": {**loadmat(path, simplify_cells=True)["proc"], **marks}})
    corpus = brennan.read(tmp_path, start=0.0, stop=1.0)
    assert [one.channels for one in corpus.recordings] == [("1", "3", "4"), ("2", "4")]
    for recording in corpus.recordings:
        raw = loadmat(tmp_path / f"{recording.id}.mat", simplify_cells=True)["raw"]["trial"]
        rows = [int(name) - 1 for name in recording.channels]
        assert np.allclose(trials(recording).x[3], 1e-6 * raw[rows, 850:950])
    assert [tuple(one) for one in corpus.skipped] == [
        ("S01.mat, channel 2", "it is marked bad, and is left out"),
        ("S02.mat, channel 1", "it is marked bad, and is left out"),
        ("S02.mat, channel 3", "it is marked bad, and is left out"),
    ]
    savemat(
        path,
        {"proc": {**loadmat(path, simplify_cells=True)["proc"], "rejections": {"badchans": ["1", "2", "4"]}}},
    )
    assert "marks every channel bad" in brennan.read(tmp_path, start=0.0, stop=1.0).skipped[-1].why


def test_libribrain(tmp_path: Path) -> None:
    libribrain.write_tiny(tmp_path)
    corpus = libribrain.read(tmp_path)
    x, labels, rate, _, positions = trials(corpus.recordings[0])
    assert (
        x.shape == (6, 4, 150)
        and rate == 50.0
        and positions is not None
        and corpus.recordings[0].kind == "meg"
    )
    assert labels["word"][:3] == ("to", "sherlock", "holmes") and set(labels["block"]) == {"Sherlock1-1"}
    with h5py.File(next(tmp_path.rglob("sub-0*.h5"))) as file:
        assert np.array_equal(x[1], file["data"][:, 150:300])
    phones = trials(libribrain.read(tmp_path, kind="phoneme", start=0.0, stop=0.5).recordings[0])
    assert phones.labels["word"] == ("t", "s", "h") * 2 and phones.x.shape == (6, 4, 25)
    with pytest.raises(HeschlError, match="choose word or phoneme"):
        libribrain.read(tmp_path, kind="letter")


def test_where_libribrains_sensors_lie(tmp_path: Path) -> None:
    libribrain.write_tiny(tmp_path)
    recording = libribrain.read(tmp_path).recordings[0]
    helmet = mne.channels.read_meg_canonical_info("neuromag")
    names = [name.replace(" ", "") for name in helmet.ch_names]
    for name, place in zip(recording.channels, recording.positions, strict=True):
        assert np.allclose(place, helmet["chs"][names.index(name)]["loc"][:3])
    assert recording.space == "device" and recording.channels[0] == "MEG0113"
    places = tmp_path / "metadata" / "sensor_xyz.json"
    places.parent.mkdir()
    places.write_text("[[0.1, 0, 0], [0, 0.1, 0], [0, 0, 0.1], [0, -0.1, 0]]")
    assert np.allclose(libribrain.read(tmp_path).recordings[0].positions[3], (0, -0.1, 0))
    for wrong in ("[[0.1, 0, 0]]", "no"):
        places.write_text(wrong)
        with pytest.raises(HeschlError, match="sensor_xyz.json must be a list of 4 places"):
            libribrain.read(tmp_path)


def test_mous(tmp_path: Path) -> None:
    """Words of who read, sounds of who listened, 3 s later on the recording's clock than on the log's."""
    mous.write_tiny(tmp_path)
    corpus = mous.read(tmp_path, rate=60.0, start=0.0, stop=1.0)
    listened, read = corpus.recordings
    assert (listened.id, read.id, read.kind) == ("A2002", "V1001", "meg") and not corpus.skipped
    x, labels, rate, channels, positions = trials(read)
    assert labels["word"] == ("het", "huis") * 6 and rate == 60.0 and channels == ("M1", "M2", "M3")
    assert set(labels["block"]) == {"het huis"} and labels["heard"][:2] == ("het huis/00", "het huis/01")
    assert positions is not None and np.allclose(positions[1], (0.05, 0.02, 0.1))
    path = tmp_path / "sub-V1001" / "meg" / "sub-V1001_task-visual_meg.fif"
    whole = mne.io.read_raw(path, verbose="error").get_data(picks="mag")
    slow = mne.filter.resample(whole, down=4, verbose="error")
    first = round((2.0 + 1 + 3 + 3) * 60)  # the second word: fixation, one, three; and the clock
    error = np.abs(x[1] - slow[:, first : first + 60]).max() / np.abs(slow).max()
    assert error < 0.15  # another filter, the same samples
    assert np.corrcoef(x[1].ravel(), slow[:, first : first + 60].ravel())[0, 1] > 0.99
    heard = trials(listened).labels
    assert (
        heard["heard"] == tuple(f"EQ_Ramp_Int2_Int1LPF{k:03d}@0.000" for k in (7, 8, 9, 7, 8, 9))
        and heard["word"][0] == "7"
    )


def test_the_words_of_mous_by_an_aligner(tmp_path: Path) -> None:
    mous.write_tiny(tmp_path)
    grids = tmp_path / "grids"
    for k in (7, 8, 9):
        words = [Span("de", 0.0, 0.4), Span("", 0.4, 1.0), Span("kat", 1.0, 1.5)]
        write_textgrid(grids / f"EQ_Ramp_Int2_Int1LPF00{k}.TextGrid", {"ORT-MAU": words}, 2.0)
    corpus = mous.read(tmp_path, rate=60.0, start=0.0, stop=1.0, aligned=str(grids))
    labels = trials(corpus.recordings[0]).labels
    assert labels["word"] == ("de", "kat") * 6 and labels["block"][:3] == (
        "EQ_Ramp_Int2_Int1LPF007",
        "EQ_Ramp_Int2_Int1LPF007",
        "EQ_Ramp_Int2_Int1LPF008",
    )
    (grids / "EQ_Ramp_Int2_Int1LPF008.TextGrid").unlink()
    (told,) = mous.read(tmp_path, rate=60.0, start=0.0, stop=1.0, aligned=str(grids), tier="ORT-MAU").skipped
    assert "holds 0 TextGrids whose name ends with 8" in told.why


def test_the_clocks_of_mous() -> None:
    """Missing triggers, a drift of 100 in a million, and a log that begins before its recording."""
    random = np.random.default_rng(0)
    at = np.cumsum(random.uniform(5, 9, 60))
    rows = [mous.Row("Picture", "ZINNEN" if k % 10 == 0 else "FIX 1", t) for k, t in enumerate(at)]
    words = [mous.Row("Picture", "1 de", t + 1) for t in at]
    rows = sorted(rows + words, key=lambda row: row.time)
    meg = 1.0001 * at + 40.0
    triggers = np.stack([meg, [10 if k % 10 == 0 else 20 for k in range(60)]], 1)
    kept = np.r_[3:20, 22:60]
    found = mous.aligned_times(rows, triggers[kept], Path("a.log"))
    assert np.isnan(found[:6]).all()  # before the first trigger that both have
    wanted = np.array([1.0001 * row.time + 40.0 for row in rows])
    assert np.abs(found - wanted)[6:].max() < 0.002
    with pytest.raises(HeschlError, match="they are not of one session"):
        mous.aligned_times(
            rows, np.stack([np.sort(random.uniform(0, 400, 60)), triggers[:, 1]], 1), Path("a.log")
        )


def test_logs_of_mous_are_checked(tmp_path: Path) -> None:
    mous.write_tiny(tmp_path)
    log = tmp_path / "sourcedata" / "meg_task" / "MEG-MOUS-VisV1001.log"
    text = log.read_text()
    log.write_text(text.replace("2 huis\t", "2 huis.\n\t"))  # a full stop breaks its line
    assert (
        trials(mous.read(tmp_path, rate=60.0, stop=1.0).recordings[1]).labels["word"] == ("het", "huis") * 6
    )
    for wrong, said in (
        (text.replace("Code", "Kode"), "has no column Code"),
        (text.replace("FIX", "OFF"), "they are not of one session"),
        (text.replace("20000\t0", "soon\t0", 1), "Time is 'soon'"),
    ):
        log.write_text(wrong)
        (told,) = mous.read(tmp_path, rate=60.0, stop=1.0).skipped
        assert said in told.why
    with pytest.raises(HeschlError, match="240 samples a second, and mous.rate 70 does not divide them"):
        mous.read(tmp_path, rate=70.0)


@pytest.mark.parametrize("module", [broderick, brennan, libribrain, mous])
def test_a_damaged_recording_is_skipped_and_named(tmp_path: Path, module: ModuleType) -> None:
    module.write_tiny(tmp_path)
    pattern = {
        "broderick": "Subject1_Run1.mat",
        "brennan": "S01.mat",
        "libribrain": "sub-0*.h5",
        "mous": "*.fif",
    }
    path = sorted(tmp_path.rglob(pattern[module.__name__.split(".")[-1]]))[0]
    before = len(module.read(tmp_path).recordings)
    path.write_bytes(path.read_bytes()[:300])
    corpus = module.read(tmp_path)
    assert len(corpus.recordings) == before - 1
    assert re.search("damaged|truncated|cannot be read", corpus.skipped[0].why)
    assert path.name in corpus.skipped[0].where


def test_words_of_another_recording_and_values_that_are_not_finite(tmp_path: Path) -> None:
    broderick.write_tiny(tmp_path)
    text = tmp_path / "Natural Speech" / "Stimuli" / "Text" / "Run2.mat"
    savemat(text, {"wordVec": np.array(["he", "was", "old"], object), "onset_time": [1.0, 98.0, 99.0]})
    eeg = np.random.default_rng(0).standard_normal((2560, 4))
    eeg[640, 2] = np.nan  # at 5 s
    path = tmp_path / "Natural Speech" / "EEG" / "Subject1" / "Subject1_Run1.mat"
    savemat(path, {"eegData": eeg, "fs": 128.0})
    why = {one.where.split("/")[-1]: one.why for one in broderick.read(tmp_path).skipped}
    assert (
        "2 of 3 trials, the first was at 98.000 s, reach outside the recording of 20.00 s"
        in why["Subject1_Run2.mat"]
    )
    assert {name: one for name, one in why.items() if "Run1" in name} == {
        "Subject1_Run1.mat, was at 3.500 s": "A3 is not finite there (NaN)"
    }
    savemat(path, {"eeg": eeg})
    assert "no variable eegData: it holds eeg" in broderick.read(tmp_path).skipped[0].why


def test_a_filter_spreads_what_is_not_finite_no_further_than_it_sees(tmp_path: Path) -> None:
    """Brennan's 100 Hz brought to 50 and MOUS' 240 to 60: a NaN goes `FIR` samples of the lower rate to either side."""
    brennan.write_tiny(tmp_path / "b")
    whole = brennan.read(tmp_path / "b", start=0.0, stop=1.0, rate=50.0)
    path = tmp_path / "b" / "S01.mat"
    held = loadmat(str(path), simplify_cells=True)["raw"]
    first = 100 + 250 * np.arange(8)  # of each word's window at 100 Hz
    for at, lost in (
        (first[3] - 21, 0),
        (first[3] - 20, 1),
        (first[3] + 98 + 20, 1),
        (first[3] + 98 + 21, 0),
    ):
        x = held["trial"].copy()
        x[2, at] = np.nan
        savemat(str(path), {"raw": {**held, "trial": x}})
        found = brennan.read(tmp_path / "b", start=0.0, stop=1.0, rate=50.0)
        told = [tuple(one) for one in found.skipped]
        assert told == [("S01.mat, to at 8.500 s", "3 is not finite there (NaN)")] * lost
        rows = [k for k in range(8) if k != 3 or not lost]
        assert np.array_equal(trials(found.recordings[0]).x[:], trials(whole.recordings[0]).x[rows])
    mous.write_tiny(tmp_path / "m")
    path = next((tmp_path / "m").rglob("sub-A2002*.fif"))
    mne = pytest.importorskip("mne")
    for before, lost in ((41, 0), (40, 1)):
        raw = mne.io.read_raw(path, preload=True, verbose="error")
        begin = 4 * round(60 * (3 + 2.0 + 9 + 1.05))  # the second sound's, in samples of the recording
        raw._data[1, begin - before] = np.nan
        raw.save(path, overwrite=True, verbose="error")
        told = mous.read(tmp_path / "m", rate=60.0, start=0.0, stop=1.0, modality="auditory").skipped
        assert [one.why for one in told] == ["M2 is not finite there (NaN)"] * lost


def test_channels_without_numbers_are_left_out_of_their_recording(tmp_path: Path) -> None:
    libribrain.write_tiny(tmp_path)
    path = next(tmp_path.rglob("sub-0*.h5"))
    with h5py.File(path, "r+") as file:
        file["data"][1], file["data"][3] = np.nan, 2e-12
    corpus = libribrain.read(tmp_path, start=0.0, stop=1.0)
    assert [one.channels for one in corpus.recordings] == [
        ("MEG0113", "MEG0111"),
        ("MEG0113", "MEG0112", "MEG0111", "MEG0122"),
    ]
    assert {one.where.split(", ")[1]: one.why.split(",")[0] for one in corpus.skipped} == {
        "channel MEG0112": "it is not finite (NaN) in 6 of 6 trials",
        "channel MEG0122": "it never changes in 6 of 6 trials",
    }
    one, other = (recording.positions for recording in corpus.recordings)
    assert one is not None and other is not None and np.array_equal(one, other[[0, 2]])


def test_a_recording_without_all_words_is_told(tmp_path: Path) -> None:
    brennan.write_tiny(tmp_path)
    savemat(tmp_path / "proc" / "S02.mat", {"proc": {"trl": np.ones((3, 4))}})
    (told,) = brennan.read(tmp_path).skipped
    assert "3 words and AliceChapterOne-EEG.csv 8" in told.why or "not complete" in told.why
    (tmp_path / "AliceChapterOne-EEG.csv").unlink()
    with pytest.raises(HeschlError, match="holds no AliceChapterOne"):
        brennan.read(tmp_path)


# --- windows laid in speech ------------------------------------------------------------------------------


def test_windows_lie_in_speech_and_the_brains_come_later(tmp_path: Path) -> None:
    listening.write_tiny(tmp_path)
    corpus = listening.read(tmp_path, seconds=1.0, rate=64.0, band=(1.0, 25.0), speech=Speech(energy))
    assert "speech; silence is left out" in corpus.notes[-1] and len(corpus.recordings) == 2
    one, two = (trials(recording) for recording in corpus.recordings)
    assert one.labels["heard"] == two.labels["heard"] == one.labels["word"]  # the same for all who heard it
    assert one.labels["block"] == two.labels["block"]
    at = [float(name.rsplit("@")[-1]) for name in one.labels["heard"]]
    for start in at:
        assert any(a - 0.1 <= start and start + 1.0 <= a + 4.1 for a in (1, 6, 11)), start
    onsets = [min(abs(start - a) for start in at) for a in (1, 6, 11)]
    assert max(onsets) < 0.05  # the first window of each stretch begins where it does
    everywhere = listening.read(tmp_path, seconds=1.0, rate=64.0, band=(1.0, 25.0))
    assert len(everywhere.clips) == 2 * 2 * 16 > len(corpus.clips)
    assert len(everywhere.skipped) == 4  # the last second's answer comes after the sound, which is told


def test_a_window_holds_what_the_brain_did_a_delay_after_its_sound(tmp_path: Path) -> None:
    """Sensors record the time of the sound itself: each sample of a trial must say when it was."""
    listening.write_tiny(tmp_path)
    with np.load(tmp_path / "sub-01.npz") as file:
        held = dict(file)
    beside = np.zeros_like(held["data"])
    for k in range(2):  # a slow wave in the sound's own seconds, 2 Hz, which the filter leaves as it is
        time = np.arange(17 * 128) / 128
        beside[0, (2 + 19 * k) * 128 :][: len(time)] = 1e-6 * np.sin(2 * np.pi * 2 * time)
    np.savez(tmp_path / "sub-01.npz", **{**held, "data": beside + 1e-6 * held["data"]})
    found = listening.read(tmp_path, seconds=1.0, delay=0.2, rate=64.0, band=(0.5, 25.0))
    x, labels, rate, *_ = trials(found.recordings[0])
    middle = [k for k, name in enumerate(labels["heard"]) if 4 < float(name.rsplit("@")[-1]) < 12]
    for k in middle:
        time = float(labels["heard"][k].rsplit("@")[-1]) + 0.2 + np.arange(64) / rate
        seen = 0.75e-6 * np.sin(2 * np.pi * 2 * time)  # less the mean of the four sensors
        assert np.allclose(x[k][0], seen, atol=0.06e-6)
    windows = [
        one for one in found.recordings[0].heard if one.clip == f"{found.recordings[0].id}/{middle[0]:05d}"
    ]
    begin = float(labels["heard"][middle[0]].rsplit("@")[-1])
    assert windows[0].start < 2 + begin + 0.2 < 2 + begin + 1.2 < windows[0].stop  # what the filter saw, too


def test_overlapping_windows_never_stand_on_two_sides(tmp_path: Path) -> None:
    """Neither in the brain, nor in the sound, whoever heard it."""
    listening.write_tiny(tmp_path)
    rows = read_csv(tmp_path / "recordings.csv")
    rows[2]["stop"] = str(float(rows[2]["start"]) + 9)  # the second listener heard half of the first sound
    write_csv(tmp_path / "recordings.csv", rows, list(rows[0]))
    corpus = listening.read(tmp_path, seconds=1.0, hop=0.25, rate=64.0, band=(4.0, 25.0), block=4.0)
    assert len({clip.labels["block"] for clip in corpus.clips}) == 8
    split, lost = kept_apart(corpus, fractions(corpus, group="block", validation=0.2, test=0.3, seed=0))
    assert lost and all("shares samples" in one.why for one in lost)
    times = {str(one.clip): one for recording in corpus.recordings for one in recording.heard}

    def heard(name: str) -> tuple[str, float]:
        sound, second = corpus.by_id[name].labels["heard"].rsplit("@")
        return sound, float(second)

    for mine in split.train:
        for other in (*split.test, *split.validation):
            if mine.split("/")[0] == other.split("/")[0]:
                assert times[mine].stop <= times[other].start or times[other].stop <= times[mine].start
            (a, start), (b, begin) = heard(mine), heard(other)
            assert a != b or abs(start - begin) > 1 - 1e-4


def test_a_sound_that_was_heard_again_is_told(tmp_path: Path) -> None:
    listening.write_tiny(tmp_path)
    rows = read_csv(tmp_path / "recordings.csv")
    again = {**rows[0], "start": "21", "stop": "38"}
    write_csv(tmp_path / "recordings.csv", [rows[0], again, rows[2], rows[3]], list(rows[0]))
    found = listening.read(tmp_path, seconds=1.0, rate=64.0, band=(4.0, 25.0))
    told = [one.why for one in found.skipped if one.where == "sub-01.npz, audio/story-0.wav"]
    assert "it was heard again at 21.00 s: trials are of the first time alone" in told
    assert max(one.stop for one in found.recordings[0].heard) < 20


def test_what_has_no_window_is_told(tmp_path: Path) -> None:
    listening.write_tiny(tmp_path)
    with pytest.raises(HeschlError, match="no stretch of speech lasts so long"):
        listening.read(tmp_path, seconds=5.0, speech=Speech(energy))
    with pytest.raises(HeschlError, match="must be above zero"):
        listening.read(tmp_path, seconds=0.0)
    rows = read_csv(tmp_path / "recordings.csv")
    rows = [{**rows[0], "audio_start": ""}, {**rows[0], "start": "20", "stop": "", "audio_start": "5"}]
    write_csv(tmp_path / "other.csv", rows, list(rows[0]))
    with pytest.raises(HeschlError, match="heard from several of its seconds"):
        listening.read(tmp_path / "other.csv", seconds=1.0)
    second = float(read_audio(tmp_path / "audio" / "story-1.wav")[0][0])

    def deaf(wave: torch.Tensor, rate: float) -> Detected:
        if float(wave[0]) == second:
            raise HeschlError("too short for it")
        return energy(wave, rate)

    found = listening.read(tmp_path, seconds=1.0, rate=64.0, band=(4.0, 25.0), speech=Speech(deaf))
    assert ("audio/story-1.wav", "too short for it") in found.skipped
    assert {clip.labels["heard"].split("@")[0] for clip in found.clips} == {"audio/story-0.wav"}
    with np.load(tmp_path / "sub-01.npz") as file:
        held = dict(file)
    np.savez(tmp_path / "sub-01.npz", **held, bad=np.array([[8.0, 10.0]]))
    found = listening.read(tmp_path, seconds=1.0, rate=64.0, band=(4.0, 25.0))
    told = {one.where: one.why for one in found.skipped}  # and the last window of every sound
    assert len(told) == 4 and told["sub-01.npz, audio/story-1.wav"].startswith("1 window reaches outside")
    assert int(told["sub-01.npz, audio/story-0.wav"].split()[0]) > 3
    assert len(trials(found.recordings[0]).x) < len(trials(found.recordings[1]).x)
