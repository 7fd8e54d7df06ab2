"""Placing on the head, noise, MNE's files, one's own subject, and real auditory fields."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import heschl
from heschl.brain import convert
from heschl.brain.anatomy import subject_anatomy, template
from heschl.brain.areas import Area, read_areas
from heschl.brain.coregister import fit_template
from heschl.brain.forward import leadfield
from heschl.brain.inverse import estimate, inverse_operator, peak
from heschl.brain.noise import trials, white_covariance
from heschl.brain.patch import patch
from heschl.brain.place import clip_courses, courses, topographies
from heschl.models.crnn import CRNN
from heschl.types import Activity, BrainMap, HeschlError

mne = pytest.importorskip("mne")
pytestmark = pytest.mark.slow


@pytest.fixture
def activity() -> dict[str, Activity]:
    torch.manual_seed(0)
    return heschl.record(CRNN((40, 50), 5, hidden_1=8, hidden_2=6), torch.randn(3, 40, 50), 100, start=0.0125)


# --- placing -------------------------------------------------------------------------------------------


def test_every_area_peaks_at_the_net_moment_asked_for(activity: dict[str, Activity]) -> None:
    found = heschl.place(activity, moment=30e-9)
    assert found.values.shape == (5124, 50)
    assert (found.unit, found.space, found.status) == ("A m", "MNI305", "illustrative")
    assert np.allclose(found.times, 0.0125 + np.arange(50) / 100)
    head = template()
    placed, _ = courses(activity, moment=30e-9)
    assert [one.patch.area.name for one in placed] == ["STG", "TP", "IFG"]
    others = np.ones(5124, dtype=bool)
    for one in placed:
        net = np.linalg.norm(head.normals[one.patch.sources].T @ found.values[one.patch.sources], axis=0)
        assert net.max() == pytest.approx(30e-9)
        assert np.allclose(net, np.abs(one.course))
        # the course is the rate, up to scale: the mean over clips of the norm over units
        rate = np.mean(
            [np.linalg.norm(clip, axis=-1) for clip in activity[one.layers[0]].values.numpy()], axis=0
        )
        assert np.corrcoef(rate, net)[0, 1] == pytest.approx(1)
        others[one.patch.sources] = False
    assert not found.values[others].any()
    louder = heschl.place(activity, moment=60e-9)
    assert np.allclose(heschl.project(louder).data, 2 * heschl.project(found).data)


def test_a_delay_puts_an_area_later_and_a_choice_elsewhere(
    activity: dict[str, Activity], tmp_path: Path
) -> None:
    table = tmp_path / "late.yaml"
    table.write_text(
        "areas:\n  IFG: {centre: [-50, 20, 14], space: MNI152, radius: 16, hemisphere: left, delay: 0.1}\n"
    )
    plain, _ = courses(activity)
    late, times = courses(activity, str(table))
    assert len(times) == 60
    assert np.allclose(late[2].course[10:], plain[2].course)
    assert not late[2].course[:10].any()
    assert np.allclose(late[0].course[:50], plain[0].course)
    both = heschl.place({"STG": activity["STG"]}, {"STG": ["HG", "HG-R"]})
    active = both.positions[both.values.any(1)]
    assert set(np.sign(active[:, 0])) == {-1.0, 1.0}
    silent = Activity("STG", torch.zeros(1, 5, 2), torch.arange(5, dtype=torch.float64))
    with pytest.raises(HeschlError, match="STG is silent"):
        heschl.place({"STG": silent})


def test_delays_that_are_no_whole_steps_or_early_lose_nothing(
    activity: dict[str, Activity], tmp_path: Path
) -> None:
    """One area holds two layers; clips one by one add up to what all of them are together."""
    table = tmp_path / "late.yaml"
    for delay in (0.033, -0.2):
        table.write_text(
            "areas:\n  HG: {centre: [-43, -21, 8], space: MNI152, radius: 12, hemisphere: left, "
            f"delay: {delay}}}\nlayers:\n  mine: {{STG: HG, TP: HG, IFG: IFG}}\n"
        )
        together, times = courses(activity, table)
        found = clip_courses(activity, table)
        assert np.array_equal(found.times, times)
        for k, one in enumerate(together):
            mean = found.values[:, k].mean(0)
            np.testing.assert_allclose(mean / np.abs(mean).max(), one.course / 20e-9, rtol=1e-9, atol=1e-12)
        assert times[0] == pytest.approx(0.0125 + min(0, delay))
    # 20 whole steps early: the same course, from the beginning on
    plain, _ = courses(activity, {"STG": "HG", "TP": "HG"})
    np.testing.assert_allclose(together[1].course[:50], plain[1].course, rtol=1e-9)
    assert (together[1].patch.area.name, plain[1].patch.area.name) == ("HG", "HG")


def test_a_thousand_clips_are_one_product(activity: dict[str, Activity]) -> None:
    found = clip_courses(activity)
    assert found.values.shape == (3, 3, 50)
    assert found.names == ("STG", "TP", "IFG")
    assert np.allclose(np.abs(found.values).max((0, 2)), 20e-9)
    seen = topographies(found.patches, "neuromag") @ found.values
    assert seen.shape == (3, 306, 50)
    one = heschl.project(heschl.place({name: activity[name] for name in ("STG",)}, clip=2), "neuromag").data
    ratio = np.abs(found.values[2, 0]).max() / 20e-9
    alone = topographies(found.patches[:1], "neuromag") @ found.values[2, :1]
    assert np.allclose(alone, one * ratio, rtol=1e-9, atol=1e-20)


# --- noise ---------------------------------------------------------------------------------------------


def test_trials_have_the_covariance_and_the_ratio_asked_for(activity: dict[str, Activity]) -> None:
    evoked = heschl.project(heschl.place(activity), "biosemi64", reference=None)
    rng = np.random.default_rng(0)
    root = rng.standard_normal((64, 64)) * 1e-6
    covariance = mne.Covariance(root @ root.T, evoked.ch_names, [], [], 1)
    epochs = trials(evoked, 200, covariance, seed=1)
    rest = (epochs.get_data(copy=True) - evoked.data).transpose(1, 0, 2).reshape(64, -1)
    error = np.abs(np.cov(rest) - covariance.data).max() / np.abs(covariance.data).max()
    assert error < 0.06
    again = trials(evoked, 3, covariance, seed=1)
    assert np.array_equal(again.get_data(copy=True), epochs.get_data(copy=True)[:3])
    assert not np.array_equal(
        trials(evoked, 3, covariance, seed=2).get_data(copy=True)[0], again.get_data(copy=True)[0]
    )
    weak = trials(evoked, 200, white_covariance(evoked.info), "pink", snr=-10.0)
    rest = weak.get_data(copy=True) - evoked.data
    ratio = np.square(evoked.data).mean(0).max() / np.square(rest).mean()
    assert 10 * np.log10(ratio) == pytest.approx(-10, abs=0.5)
    referenced = trials(heschl.project(heschl.place(activity), "biosemi64"), 2)
    assert np.abs(referenced.get_data(copy=True).mean(1)).max() < 1e-18
    with pytest.raises(HeschlError, match="lacks channel MEG"):
        trials(heschl.project(heschl.place(activity), "neuromag"), 1, covariance)


# --- files ---------------------------------------------------------------------------------------------


def test_plain_mne_opens_what_is_written(activity: dict[str, Activity], tmp_path: Path) -> None:
    placed = heschl.place(activity)
    left, right = convert.write_stc(tmp_path / "word", placed)
    assert (left.name, right.name) == ("word-lh.stc", "word-rh.stc")
    code = "import sys, mne; s = mne.read_source_estimate(sys.argv[1]); print(s.data.shape, s.data.max())"
    out = subprocess.run(
        [sys.executable, "-c", code, str(left)], capture_output=True, text=True, check=True
    ).stdout
    assert out.startswith("(5124, 50)")
    assert float(out.split()[-1]) == pytest.approx(placed.values.max(), rel=1e-6)
    stc = mne.read_source_estimate(left, subject="fsaverage")
    back = convert.from_stc(stc)
    assert np.allclose(back.values, placed.values, rtol=1e-6)
    assert np.array_equal(back.positions, placed.positions)
    assert np.allclose(back.times, placed.times, atol=1e-6)
    convert.write_map(tmp_path / "map.h5", placed)
    same = convert.read_map(tmp_path / "map.h5")
    assert np.array_equal(same.values, placed.values)
    assert (same.unit, same.space, same.status) == ("A m", "MNI305", "illustrative")
    evoked = heschl.project(placed, "neuromag")
    epochs = trials(evoked, 3)
    convert.write_fif(tmp_path / "word-ave.fif", evoked)
    convert.write_fif(tmp_path / "word-epo.fif", epochs)
    assert np.allclose(
        mne.read_evokeds(tmp_path / "word-ave.fif")[0].data, evoked.data, rtol=1e-5, atol=1e-20
    )
    assert mne.read_epochs(tmp_path / "word-epo.fif").get_data(copy=True).shape == (3, 306, 50)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "map.h5", "word-ave.fif", "word-epo.fif", "word-lh.stc", "word-rh.stc",
    ]  # fmt: skip
    with pytest.raises(HeschlError, match=r"must end in -ave.fif"):
        convert.write_fif(tmp_path / "word.fif", evoked)
    with pytest.raises(HeschlError, match="no brain map"):
        convert.read_map(tmp_path / "word-ave.fif")
    stc.subject = "bert"
    with pytest.raises(HeschlError, match="of bert"):
        convert.from_stc(stc)


@pytest.mark.parametrize("sensors", ["biosemi64", "neuromag"])
def test_the_official_validator_finds_no_errors(
    activity: dict[str, Activity], tmp_path: Path, sensors: str
) -> None:
    pytest.importorskip("mne_bids")
    beside = Path(sys.executable).with_name("bids-validator-deno")
    validator = shutil.which("bids-validator-deno") or (str(beside) if beside.exists() else None)
    if validator is None:
        pytest.skip("bids-validator-deno is not here")
    raw = convert.raw_of(trials(heschl.project(heschl.place(activity), sensors), 4), gap=0.2)
    assert len(raw.annotations) == 4
    written = convert.write_bids(tmp_path, raw, task="words")
    assert written.exists()
    done = subprocess.run([validator, str(tmp_path), "--format", "json"], capture_output=True, text=True)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [one for one in issues if one["severity"] == "error"] == []
    with pytest.raises(HeschlError, match="letters and digits"):
        convert.write_bids(tmp_path, raw, subject="a_b")


# --- other heads -----------------------------------------------------------------------------------------


def test_a_subject_of_ones_own_comes_by_the_same_door(activity: dict[str, Activity], tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    head = template()
    shutil.copytree(head.subjects_dir / "fsaverage", tmp_path / "bert")
    (tmp_path / "bert" / "mri" / "transforms").mkdir(parents=True)
    shift = "1 0 0 3\n0 1 0 0\n0 0 1 0"  # bert lies 3 mm to the left of MNI305
    (tmp_path / "bert" / "mri" / "transforms" / "talairach.xfm").write_text(
        f"MNI Transform File\n\nTransform_Type = Linear;\nLinear_Transform =\n{shift};\n"
    )
    empty = np.zeros((2, 2, 2), np.uint8)  # of whose axes surface coordinates are the scanner's
    image = nibabel.MGHImage(empty, nibabel.MGHImage(empty, np.eye(4)).header.get_vox2ras_tkr())
    nibabel.save(image, tmp_path / "bert" / "mri" / "orig.mgz")
    bem = tmp_path / "bert" / "bem"
    bert = subject_anatomy(tmp_path, "bert", bem / "fsaverage-bem-sol.fif", bem / "fsaverage-trans.fif")
    assert np.allclose(bert.sources, head.sources, atol=1e-7)
    assert np.allclose(bert.positions - bert.sources, [0.003, 0, 0], atol=1e-6)
    area = read_areas().area("STG")
    assert np.array_equal(patch(area, bert).sources, patch(area).sources)
    placed = heschl.place(activity, anatomy=bert)
    assert np.allclose(
        heschl.project(placed, anatomy=bert).data,
        heschl.project(heschl.place(activity)).data,
        rtol=1e-5,
        atol=1e-12,
    )
    label = mne.Label(np.arange(30), hemi="lh", name="a-lh", subject="ernie")
    with pytest.raises(HeschlError, match="of subject ernie"):
        patch(Area("a", label=label), bert)
    with pytest.raises(HeschlError, match="is not there"):
        subject_anatomy(tmp_path, "ernie", bem / "x-sol.fif", bem / "fsaverage-trans.fif")


def test_real_auditory_fields_peak_at_heschls_gyrus_on_both_sides(shared: Path) -> None:
    folder = shared / "data" / "mne_auditory_evoked"
    evoked = mne.read_evokeds(folder / "test-ave.fif.gz", baseline=(None, 0))[:2]
    covariance = mne.read_cov(folder / "test-cov.fif.gz")
    fit = fit_template(evoked[0].info)
    assert fit.scale == pytest.approx(0.973, abs=0.01)
    assert fit.error < 0.003
    assert fit.points >= 140
    evoked = [one.pick("meg") for one in evoked]
    operator = inverse_operator(evoked[0].info, fit.anatomy, covariance)
    left, _ = (len(one) for one in fit.anatomy.vertices)
    gyrus = {"HG": slice(None, left), "HG-R": slice(left, None)}
    for one in evoked:
        found = estimate(one, operator, "dSPM", 3.0, fit.anatomy)
        assert found.status == "fitted"
        for name, part in gyrus.items():
            half = BrainMap(found.values[part], found.positions[part], found.times, "dSPM", "MNI305")
            _, place = peak(half, 0.075, 0.120)
            assert np.linalg.norm(place - read_areas().area(name).centre) < 0.025, (one.comment, name)
    assert leadfield(evoked[0].info, fit.anatomy).shape == (306, 5124)
