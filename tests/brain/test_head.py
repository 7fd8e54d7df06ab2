"""The template head and its lead fields: geometry, two other conductors, linearity, reference, inverses."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import heschl
from heschl.brain import coregister, forward
from heschl.brain import patch as patches
from heschl.brain.anatomy import Anatomy, template
from heschl.brain.areas import Area, read_areas
from heschl.brain.bem import icosphere, inside
from heschl.brain.forward import forward_solution, leadfield, project, sphere
from heschl.brain.inverse import cross_talk, inverse_operator, peak, point_spread
from heschl.brain.patch import patch
from heschl.brain.sensors import sensor_distances, sensors_info
from heschl.files import cache_folder
from heschl.types import BrainMap, HeschlError

mne = pytest.importorskip("mne")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:the sphere holds")]


@pytest.fixture
def head() -> Anatomy:
    return template()


def skull(head: Anatomy) -> tuple[np.ndarray, np.ndarray]:
    points, faces = mne.read_surface(head.subjects_dir / "fsaverage" / "bem" / "inner_skull.surf")
    return points / 1000, faces


# --- geometry ------------------------------------------------------------------------------------------


def test_5124_sources_within_the_skull_numbered_as_ico4(head: Anatomy) -> None:
    assert [list(one) for one in head.vertices] == [list(range(2562))] * 2
    points, faces = icosphere(4)
    sphere_mesh = head.mesh("left", "sphere").points[:2562]
    unit = sphere_mesh / np.linalg.norm(sphere_mesh, axis=1, keepdims=True)
    edges = points[faces[:, 0]] - points[faces[:, 1]]
    near = np.sort(np.linalg.norm(unit[:50, None] - unit[None], axis=-1), axis=1)[:, 1]
    assert (
        near.min() > np.linalg.norm(edges, axis=1).min() * 0.98
    )  # evenly spread, as an icosphere's corners are
    assert near.max() < np.linalg.norm(edges, axis=1).max() * 1.02
    assert inside(head.sources, *skull(head)).all()
    assert np.array_equal(head.positions, head.sources)
    assert (head.positions[:2562, 0] < 0.002).all()
    assert np.allclose(np.linalg.norm(head.normals, axis=1), 1)
    # normals point out of the cortex: from white to pial
    white, pial = (np.concatenate([head.mesh(side, kind).points[:2562] for side in ("left", "right")]) for kind in ("white", "pial"))  # fmt: skip
    along = np.einsum("ij,ij->i", pial - white, head.normals)
    assert (along > 0).mean() > 0.95


def test_sources_and_layers_are_those_that_mne_makes(head: Anatomy) -> None:
    made = mne.setup_source_space(
        "fsaverage",
        spacing="ico4",
        surface="white",
        subjects_dir=head.subjects_dir,
        add_dist=False,
        verbose="error",
    )

    def turned(
        faces: np.ndarray,
    ) -> list:  # from the smallest corner on: the same way round is the same triangle
        return sorted(tuple(np.roll(one, -int(np.argmin(one)))) for one in np.asarray(faces).tolist())

    for ours, theirs in zip(head.src, made):
        np.testing.assert_array_equal(ours["inuse"], theirs["inuse"])
        np.testing.assert_allclose(ours["rr"], theirs["rr"], atol=1e-8)
        np.testing.assert_allclose(ours["nn"], theirs["nn"], atol=1e-6)
        assert turned(ours["use_tris"]) == turned(theirs["use_tris"])
    model = mne.make_bem_model("fsaverage", ico=None, subjects_dir=head.subjects_dir, verbose="error")
    kept = mne.read_bem_surfaces(head.bem.with_name("fsaverage-bem.fif"), verbose="error")
    for ours, theirs in zip(kept, model):
        assert (ours["id"], ours["coord_frame"]) == (theirs["id"], theirs["coord_frame"])
        np.testing.assert_allclose(ours["sigma"], theirs["sigma"], rtol=1e-6)
        np.testing.assert_allclose(ours["rr"], theirs["rr"], atol=1e-7)
        np.testing.assert_array_equal(ours["tris"], theirs["tris"])


def test_the_transform_is_not_turned_round(head: Anatomy) -> None:
    fiducials, _ = mne.io.read_fiducials(head.subjects_dir / "fsaverage" / "bem" / "fsaverage-fiducials.fif")
    matrix = np.linalg.inv(head.trans["trans"])
    left, nose, right = (matrix[:3, :3] @ point["r"] + matrix[:3, 3] for point in fiducials)
    assert np.allclose(left[1:], 0, atol=1e-3)
    assert np.allclose(right[1:], 0, atol=1e-3)
    assert left[0] < -0.06 < 0.06 < right[0]
    assert abs(nose[0]) < 2e-3
    assert nose[1] > 0.08


def test_every_montage_of_mne_sees_a_source(head: Anatomy) -> None:
    """From a head of ten sources, so that each montage takes a moment; the sensor that sees most lies near the source."""
    src = head.src.copy()
    for one in src:
        one["vertno"] = one["vertno"][::512][:5]
        one["inuse"][:], one["nuse"] = 0, 5
        one["inuse"][one["vertno"]] = 1
    few = replace(head, src=src, key="ten sources")
    values = np.zeros((10, 3))
    outermost = int((few.sources @ [-1.0, 0.0, 0.5]).argmax())  # high on the left
    values[outermost] = 1e-8
    brain_map = BrainMap(values, few.positions, np.arange(3) / 100, "A m", "MNI305", "illustrative")
    for name in mne.channels.get_builtin_montages():
        evoked = project(brain_map, name, anatomy=few)
        assert set(evoked.get_channel_types()) == {"eeg"} and np.isfinite(evoked.data).all(), name
        np.testing.assert_allclose(evoked.data.mean(0), 0, atol=1e-15, err_msg=name)  # average reference
        assert 1e-9 < np.abs(evoked.data).max() < 2e-5, name
        places = np.array([channel["loc"][:3] for channel in evoked.info["chs"]])
        best = places[np.abs(evoked.data[:, 0]).argmax()]
        there = np.linalg.inv(head.trans["trans"])[:3] @ np.r_[few.sources[outermost], 1]
        assert np.linalg.norm(best - there) < 0.08, name


@pytest.mark.parametrize(
    ("sensors", "nearest", "furthest"),
    [("fsaverage_1020", 0, 9), ("biosemi64", 0, 25), ("neuromag", 5, 60), ("ctf275", 1, 60)],
)
def test_electrodes_lie_on_and_coils_round_the_scalp(
    head: Anatomy, sensors: str, nearest: float, furthest: float
) -> None:
    info = sensors_info(sensors)
    far = sensor_distances(info, head) * 1000
    assert nearest <= far.min()
    assert far.max() <= furthest
    if sensors == "neuromag":
        assert 15 < np.median(far) < 35
    inverted = Anatomy(
        head.subject, head.subjects_dir, mne.transforms.invert_transform(head.trans), head.src, head.bem, ""
    )
    assert np.median(sensor_distances(info, inverted)) > 1.3 * np.median(far) / 1000


# --- other conductors ----------------------------------------------------------------------------------


def sarvas(place: np.ndarray, moments: np.ndarray, at: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Field along `normal` at points (n, 3) outside a conducting sphere round the origin, of dipoles (m, 3) at (m, 3):
    (n, m), tesla. Sarvas 1987, eq. 25."""
    r, r0, q = at[:, None], place[None], moments[None]
    a = r - r0
    la, lr = np.linalg.norm(a, axis=-1), np.linalg.norm(r, axis=-1)
    ar, rr = (a * r).sum(-1), (r * r0).sum(-1)
    f = la * (lr * la + lr**2 - rr)
    slope = (la**2 / lr + ar / la + 2 * la + 2 * lr)[..., None] * r - (la + 2 * lr + ar / la)[..., None] * r0
    qxr = np.cross(q, np.broadcast_to(r0, a.shape))
    field = 1e-7 / f[..., None] ** 2 * (f[..., None] * qxr - (qxr * r).sum(-1)[..., None] * slope)
    return np.einsum("nmi,ni->nm", field, normal)


def test_meg_of_a_sphere_by_our_own_sarvas_and_meg_of_the_template_beside_it(head: Anatomy) -> None:
    info = sensors_info("neuromag")
    mags = mne.pick_types(info, meg="mag")
    there = sphere(head)
    to_head = np.linalg.inv(head.trans["trans"])
    sources = head.sources @ to_head[:3, :3].T + to_head[:3, 3] - there["r0"]
    normals = head.normals @ to_head[:3, :3].T
    device = info["dev_head_t"]["trans"]
    loc = np.array([info["chs"][k]["loc"] for k in mags])
    corners = [(x, y) for x in (-0.00645, 0.00645) for y in (-0.00645, 0.00645)]  # of a coil of 26 mm
    expected = np.mean(
        [
            sarvas(
                sources,
                normals,
                (loc[:, :3] + x * loc[:, 3:6] + y * loc[:, 6:9]) @ device[:3, :3].T
                + device[:3, 3]
                - there["r0"],
                loc[:, 9:12] @ device[:3, :3].T,
            )
            for x, y in corners
        ],
        axis=0,
    )
    gain = leadfield("neuromag", conductor="sphere")[mags]
    held = np.isfinite(gain).all(0)
    assert np.array_equal(held, np.linalg.norm(sources, axis=1) <= there["layers"][0]["rad"])
    assert 0.95 < held.mean() < 1
    strong = held & (np.abs(expected).max(0) > 0.1 * np.abs(expected[:, held]).max())
    error = np.abs(gain - expected)[:, strong].max(0) / np.abs(expected)[:, strong].max(0)
    assert np.median(error) < 0.005
    assert error.max() < 0.02
    bem = leadfield("neuromag")[mags]
    r, ratio = alike(bem[:, strong], expected[:, strong])
    assert np.median(r) > 0.97
    assert 0.85 < np.median(ratio) < 1.15


def shells(place: np.ndarray, at: np.ndarray, layers: list[dict], degrees: int = 120) -> np.ndarray:
    """Potential on the outermost of concentric shells, (n, 3) volts a metre and ampere of a dipole along each axis: the series
    in Legendre polynomials, of which each degree's two powers of r meet the conditions at every boundary."""
    outer = layers[-1]["rad"]
    b, n = np.linalg.norm(place) / outer, np.arange(1, degrees + 1)[:, None]
    factors = []
    for k in range(1, degrees + 1):
        # unknown: of r^k in each shell, of r^-(k+1) in each but the first, where the source alone has it, with 1
        matrix = np.zeros((2 * len(layers) - 1, 2 * len(layers)))
        for j, layer in enumerate(layers[:-1]):
            r = layer["rad"] / outer
            for shell, sign in ((j, 1), (j + 1, -1)):  # potential and current are the same on both sides
                both = slice(2 * shell, 2 * shell + 2)
                matrix[2 * j, both] = sign * r**k, sign * r ** -(k + 1)
                sigma = sign * layers[shell]["sigma"]
                matrix[2 * j + 1, both] = sigma * k * r ** (k - 1), -sigma * (k + 1) * r ** -(k + 2)
        matrix[-1, -2:] = k, -(k + 1)  # nothing leaves the head
        factors.append(np.linalg.solve(np.delete(matrix, 1, 1), -matrix[:, 1])[-2:].sum())
    to, up = at / np.linalg.norm(at, axis=1, keepdims=True), place / np.linalg.norm(place)
    x = to @ up
    legendre = [np.polynomial.Legendre.basis(k) for k in range(1, degrees + 1)]
    weights = np.array(factors)[:, None] * b ** (n - 1) / (4 * np.pi * layers[0]["sigma"] * outer**2)
    radial = (weights * n * np.array([p(x) for p in legendre])).sum(0)
    tangential = (weights * np.array([p.deriv()(x) for p in legendre])).sum(0)
    return radial[:, None] * up + tangential[:, None] * (to - x[:, None] * up)


def test_eeg_of_a_sphere_by_the_series_of_its_four_shells(head: Anatomy) -> None:
    info, there = sensors_info("biosemi64"), sphere(head)
    to_head = np.linalg.inv(head.trans["trans"])
    sources = head.sources @ to_head[:3, :3].T + to_head[:3, 3] - there["r0"]
    electrodes = np.array([channel["loc"][:3] for channel in info["chs"]]) - there["r0"]
    assert np.ptp(np.linalg.norm(electrodes, axis=1)) > 0.02  # they are not on it, and must be brought there
    gain = leadfield("biosemi64", conductor="sphere", orientation="free")
    held = np.flatnonzero(np.isfinite(gain).all((0, 2)))
    for source in np.random.default_rng(0).choice(held, 40, replace=False):
        expected = shells(sources[source], electrodes, there["layers"])
        error = np.linalg.norm(gain[:, source] - expected) / np.linalg.norm(expected)
        assert error < 0.01


def alike(one: np.ndarray, two: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlation over sensors and ratio of size, for each source."""
    one, two = one - one.mean(0), two - two.mean(0)
    sizes = np.linalg.norm(one, axis=0), np.linalg.norm(two, axis=0)
    return (one * two).sum(0) / (sizes[0] * sizes[1]), sizes[0] / sizes[1]


@pytest.mark.parametrize(("area", "least"), [("STG", 0.97), ("IFG", 0.95), ("TP", 0.9)])
def test_eeg_of_the_template_and_of_a_sphere_agree_where_both_hold(area: str, least: float) -> None:
    bem, ball = (leadfield("biosemi64", conductor=one, reference="average") for one in ("bem", "sphere"))  # type: ignore[arg-type]
    sources = patch(read_areas().area(area)).sources
    sources = sources[np.isfinite(ball[:, sources]).all(0)]
    assert len(sources) >= 3
    r, ratio = alike(bem[:, sources], ball[:, sources])
    assert np.median(r) > least
    assert 0.75 < np.median(ratio) < 1.3


def test_a_sphere_says_what_it_drops_and_loses_nothing_in_silence(head: Anatomy) -> None:
    with pytest.warns(UserWarning, match="lie outside it and are lost"):
        ball = leadfield("biosemi64", conductor="sphere")
    lost = np.flatnonzero(~np.isfinite(ball).all(0))
    values = np.zeros((5124, 1))
    values[lost[0]] = 1e-9
    one = BrainMap(values, head.positions, np.zeros(1), "A m", "MNI305")
    with pytest.raises(HeschlError, match="outside the conductor"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        project(one, "biosemi64", conductor="sphere")
    assert np.isfinite(project(one, "biosemi64").data).all()
    few = mne.pick_info(sensors_info("biosemi64"), range(3))
    wide = head.src.copy()
    for part in wide:
        part["rr"] = part["rr"] * 1.12
    with pytest.warns(UserWarning, match="the BEM's inner skull holds [0-9]+ of 5124 sources"):
        leadfield(few, replace(head, src=wide, key="wide"))


# --- lead fields ---------------------------------------------------------------------------------------


def test_fixed_is_free_along_the_normal_and_mnes_own(head: Anatomy) -> None:
    fixed, free = (leadfield("biosemi64", orientation=one) for one in ("normal", "free"))  # type: ignore[arg-type]
    assert fixed.shape == (64, 5124)
    assert free.shape == (64, 5124, 3)
    own = mne.convert_forward_solution(
        forward_solution("biosemi64"), force_fixed=True, use_cps=False, verbose="error"
    )
    assert np.allclose(fixed, own["sol"]["data"], rtol=1e-4, atol=1e-5 * np.abs(fixed).max())
    turned = leadfield("neuromag", head_position=(0, 0, 0.05))
    assert not np.allclose(turned, leadfield("neuromag"))


def test_projecting_is_one_linear_product(head: Anatomy) -> None:
    rng = np.random.default_rng(0)
    times = np.arange(7) / 100 + 0.2
    maps = [
        BrainMap(rng.standard_normal((5124, 7)) * 1e-9, head.positions, times, "A m", "MNI305") for _ in "ab"
    ]
    mixed = BrainMap(2 * maps[0].values - 3 * maps[1].values, head.positions, times, "A m", "MNI305")
    one, two, both = (project(m, "biosemi64") for m in (*maps, mixed))
    assert np.allclose(both.data, 2 * one.data - 3 * two.data, atol=1e-12 * np.abs(both.data).max() + 1e-20)
    gain = leadfield("biosemi64")
    expected = gain @ maps[0].values
    assert np.allclose(project(maps[0], "biosemi64", reference=None).data, expected, rtol=1e-10)
    assert np.allclose(one.data, expected - expected.mean(0), rtol=1e-10, atol=1e-20)
    mastoids = ["P9", "P10"]
    at = [one.ch_names.index(name) for name in mastoids]
    linked = project(maps[0], "biosemi64", reference=mastoids)
    assert np.allclose(linked.data, expected - expected[at].mean(0), rtol=1e-9, atol=1e-18)
    assert linked.info["custom_ref_applied"]
    assert (one.times[0], one.info["sfreq"]) == (pytest.approx(0.2), pytest.approx(100))
    assert "simulated, illustrative" in one.comment
    few = rng.choice(5124, 20, replace=False)
    part = BrainMap(maps[0].values[few], head.positions[few], times, "A m", "MNI305")
    assert np.allclose(
        project(part, "neuromag").data, leadfield("neuromag")[:, few] @ part.values, rtol=1e-9, atol=0
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"unit": "r"}, "only source moments"),
        ({"space": "head"}, "MNI305 or MNI152"),
        ({"positions": np.full((2, 3), 0.2)}, "from the nearest source"),
        ({"times": np.array([0, 0.1, 0.3])}, "not even steps"),
        ({"values": np.full((2, 3), np.nan)}, "not finite"),
    ],
)
def test_maps_that_reach_no_sensor(head: Anatomy, change: dict, said: str) -> None:
    given = {"values": np.ones((2, 3)), "positions": head.positions[:2], "times": np.arange(3) / 10}
    with pytest.raises(HeschlError, match=said):
        project(BrainMap(**{**given, "unit": "A m", "space": "MNI305", **change}))


def test_sensors_that_are_not_there() -> None:
    with pytest.raises(HeschlError, match="did you mean 'biosemi64'"):
        leadfield("biosemy64")
    with pytest.raises(HeschlError, match="is not there"):
        leadfield("no-such.fif")
    info = mne.create_info(["a", "b"], 100.0, "eeg")
    with pytest.raises(HeschlError, match="channel a has no position"):
        leadfield(info)
    helmet = sensors_info("neuromag")
    with helmet._unlock():
        helmet["dev_head_t"] = None
    with pytest.raises(HeschlError, match="dev_head_t"):
        leadfield(helmet)
    with pytest.raises(
        HeschlError, match="do not fit the head .* inside the scalp surface.*: mend head_position"
    ):
        leadfield("neuromag", head_position=(0, 0, -0.02))
    with pytest.raises(HeschlError, match="no EEG or MEG"):
        leadfield(mne.create_info(["a"], 100.0, "misc"))


@pytest.mark.parametrize("size", [0.92, 1.07])
def test_the_size_and_place_of_a_simulated_head_are_found_again(
    head: Anatomy, size: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Points of the template's own scalp, larger or smaller, in the frame of its fiducials; then the same in millimetres."""
    monkeypatch.setattr(coregister, "scaled_template", lambda size, trans: replace(head, trans=trans))
    folder = head.subjects_dir / "fsaverage" / "bem"
    fiducials, _ = mne.io.read_fiducials(folder / "fsaverage-fiducials.fif")
    scalp = mne.read_bem_surfaces(folder / "fsaverage-head.fif")[0]["rr"]
    shape = np.random.default_rng(0).permutation(scalp[scalp[:, 2] > 0])[:150]

    def info(unit: float) -> tuple[Any, np.ndarray]:
        named = {int(one["ident"]): one["r"] * size * unit for one in fiducials}
        digitised = mne.channels.make_dig_montage(
            lpa=named[1], nasion=named[2], rpa=named[3], hsp=shape * size * unit, coord_frame="unknown"
        )
        there = mne.channels.compute_native_head_t(digitised)
        made = mne.create_info(["E"], 100.0, "eeg")
        made.set_montage(
            mne.channels.montage.transform_to_head(digitised), on_missing="ignore", verbose="error"
        )
        return made, np.linalg.inv(there["trans"])

    given, back = info(1.0)
    fit = coregister.fit_template(given)
    assert fit.scale == pytest.approx(size, abs=1e-4)
    assert fit.error < 1e-6 and (fit.points, fit.left_out) == (150, 0)
    assert np.allclose(fit.anatomy.trans["trans"], back, atol=1e-4)
    for scaled in (True, False):
        with pytest.raises(HeschlError, match="of no head in metres"):
            coregister.fit_template(info(1000.0)[0], scaled=scaled)


# --- areas on the head -----------------------------------------------------------------------------------


def test_patches_are_discs_along_the_cortex(head: Anatomy) -> None:
    for area in read_areas().areas.values():
        found = patch(area)
        far = np.linalg.norm(head.positions[found.sources] - head.positions[found.sources].mean(0), axis=1)
        assert far.max() < 1.3 * area.radius
        side = head.positions[found.sources, 0] < 0
        assert (side == (area.hemisphere == "left")).all()
        assert 0.3 < found.kept < 0.9  # folding cancels
    label = mne.Label(np.arange(100, 140), hemi="rh", name="mine-rh", subject="fsaverage")
    assert list(patch(Area("mine", hemisphere="right", label=label)).sources) == list(range(2662, 2702))


def test_a_kept_patch_is_the_measured_one(head: Anatomy) -> None:
    area = replace(read_areas().area("IFG"), radius=0.0123)  # no other test's
    for _ in range(2):  # made, and read
        np.testing.assert_array_equal(
            patches._round_sources(area, head), patches._measured_sources(area, head)
        )
    assert len(patches._round_sources(replace(area, radius=0.02), head)) > len(
        patches._round_sources(area, head)
    )


def test_areas_that_are_nowhere_are_refused_by_name() -> None:
    for area, said in (
        (Area("far", (-0.1, 0.0, 0.0), radius=0.01), "far lies .* outside the brain"),
        (Area("wrong side", (0.06, -0.02, 0.0), radius=0.01), "wrong side lies"),
        (Area("tiny", (-0.06, -0.0215, 0.004), radius=0.0001), "tiny holds none"),
    ):
        with pytest.raises(HeschlError, match=said):
            patch(area)


# --- inverses --------------------------------------------------------------------------------------------


def test_noise_free_sloreta_returns_every_dipole(head: Anatomy) -> None:
    info = project(
        BrainMap(np.zeros((1, 2)), head.positions[:1], np.arange(2) / 100, "A m", "MNI305"), "neuromag"
    ).info
    operator = inverse_operator(info, loose=0, depth=None)
    sources = np.random.default_rng(0).choice(5124, 200, replace=False)
    spread = point_spread([np.array([k]) for k in sources], info, operator, "sLORETA")
    assert np.array_equal(spread.argmax(0), sources)
    best, place = peak(BrainMap(spread[:, :1], head.positions, np.zeros(1), "sLORETA", "MNI305"))
    assert best == sources[0]
    assert np.array_equal(place, head.positions[best])


def test_neighbours_cannot_be_told_apart_and_far_areas_can(head: Anatomy) -> None:
    info = project(
        BrainMap(np.zeros((1, 2)), head.positions[:1], np.arange(2) / 100, "A m", "MNI305"), "neuromag"
    ).info
    table = read_areas()
    talk = cross_talk([patch(table.area(name)) for name in ("STG", "HG", "IFG-R")], info)
    assert np.allclose(np.diag(talk.matrix), 1)
    assert talk.matrix[1, 0] > 0.5
    assert talk.matrix[2, 0] < 0.3
    assert talk.groups == (("STG", "HG"), ("IFG-R",))
    assert "STG and HG cannot be told apart" in str(talk)


def test_missing_mne_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heschl.brain.anatomy.find_spec", lambda name: None)
    with pytest.raises(HeschlError, match=r"pip install 'heschl\[brain\]'"):
        heschl.project(BrainMap(np.zeros((1, 1)), np.zeros((1, 3)), np.zeros(1), "A m", "MNI305"))


def test_a_damaged_cache_is_made_anew() -> None:
    sensors = "biosemi16"
    whole = leadfield(sensors, conductor="sphere")
    area = read_areas().area("STG")
    sources = patches._round_sources(area, template())
    folder = cache_folder() / "brain"
    key = forward._key(sensors_info(sensors, forward.HEAD_POSITION), template(), "sphere")
    for damage in (b"", b"\x93NUMPY no more", (folder / f"leadfield-{key}.npy").read_bytes()[:200]):
        for path in (folder / f"leadfield-{key}.npy", folder / f"{key}-fwd.fif", *folder.glob("patch-*.npy")):
            path.write_bytes(damage)
        np.testing.assert_array_equal(leadfield(sensors, conductor="sphere"), whole)
        np.testing.assert_array_equal(patches._round_sources(area, template()), sources)
