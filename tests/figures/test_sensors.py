"""Pictures of sensors: what is drawn where, in which unit; the cortex to turn says what it should."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest
from scipy.special import eval_legendre

from heschl.figures.brain import Hemisphere, draw
from heschl.figures.heads import EDGE, PIXELS, _sphere, _spline, scalp
from heschl.figures.sensors import Seen, called, diverging, moments, sensors_figure
from heschl.figures.style import PHONE, short
from heschl.figures.surface import surface_element, surface_page


def seen(kind: str = "eeg", n: int = 12) -> Seen:
    mne = pytest.importorskip("mne")
    names = mne.channels.make_standard_montage("biosemi16").ch_names[:n]
    info = mne.create_info(names, 100.0, kind)
    info.set_montage("biosemi16", verbose="error")
    times = np.arange(40) / 100
    data = 1e-6 * np.outer(np.linspace(-1, 2, n), np.sin(9 * times))
    return Seen(kind, data, times, info)


@pytest.mark.parametrize(("width", "heads"), [(7.5, 5), (PHONE, 3)])
def test_units_times_and_names_stand_in_the_picture(width: float, heads: int) -> None:
    one = seen()
    courses = {"STG": 20e-9 * np.sin(9 * one.times) ** 2, "IFG": 10e-9 * np.ones(40)}
    figure = sensors_figure(one, courses, "A title", width=width)
    top, bar, channels, areas = figure.axes
    assert sum("ms" in text.get_text() for text in top.texts) == heads
    assert bar.get_title(loc="left") == "µV"
    assert [tick.get_text() for tick in bar.get_yticklabels()][-1] == f"+{1e6 * np.abs(one.data).max():.2g}"
    assert len(channels.lines) == 12 + heads and channels.get_ylabel() == "µV"
    assert areas.get_ylabel() == "nA\u202fm" and "network time" in areas.get_xlabel()
    named = [text.get_text() for text in areas.texts]
    assert "STG" in named and "IFG" in named
    np.testing.assert_allclose(areas.lines[0].get_ydata(), 1e9 * courses["STG"])


def test_pairs_of_gradiometers_are_found_by_place_and_one_may_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    mne = pytest.importorskip("mne")
    info = mne.channels.read_meg_canonical_info("neuromag")
    info = mne.pick_info(info, mne.pick_types(info, meg="grad")[1:])  # the first one is marked bad
    data = np.random.default_rng(0).standard_normal((203, 3)) * 1e-13
    drawn: dict[str, np.ndarray] = {}

    def kept(axes, values, places, *rest) -> None:
        drawn.update(values=values, places=places)

    monkeypatch.setattr("heschl.figures.heads.draw", kept)
    sensors_figure(Seen("grad", data, np.arange(3) / 100, info), {"STG": np.ones(3) * 1e-9}, "", at=[0.0])
    names, where = info.ch_names, np.array([channel["loc"][:3] for channel in info["chs"]])
    assert drawn["values"].shape == (1, 102)
    for place, value in zip(drawn["places"], drawn["values"][0]):
        own = [k for k in range(203) if np.allclose(where[k], place, atol=1e-4)]
        assert len({names[k][:-1] for k in own}) == 1 and len(own) in (1, 2)
        assert value == pytest.approx(np.sqrt(np.mean((1e13 * data[own, 0]) ** 2)))


@pytest.mark.parametrize(
    ("sensors", "word"), [("neuromag", "magnetometer"), ("ctf275", "axial gradiometer"), (None, "electrode")]
)
def test_what_sensors_are_called(sensors: str | None, word: str) -> None:
    mne = pytest.importorskip("mne")
    info = seen().info if sensors is None else mne.channels.read_meg_canonical_info(sensors)
    assert called("eeg" if sensors is None else "mag", info) == word


@pytest.mark.parametrize(("value", "text"), [(0.0312, "0.031"), (4.84, "4.8"), (99.7, "100"), (187.2, "187")])
def test_numbers_on_a_bar_have_no_powers_of_ten(value: float, text: str) -> None:
    assert short(value) == text


def test_a_spherical_spline_keeps_sensors_constants_and_sides() -> None:
    """Against the definition: the splines' system solved apart, at places that are no pixels; and what it must keep."""
    one = seen(n=16)
    places = np.array([channel["loc"][:3] for channel in one.info["chs"]])
    made = scalp(places)
    inside = made.share.ravel() > 0
    np.testing.assert_allclose(made.matrix[inside].sum(1), 1, atol=1e-8)  # a constant stays one
    assert not made.matrix[~inside].any()
    wave = places[:, 0] + 2 * places[:, 1] - places[:, 2]  # smooth over the sphere
    picture = (made.matrix @ wave).reshape(PIXELS, PIXELS)
    centre, radius = _sphere(places)
    assert radius == pytest.approx(0.095, abs=1e-6)
    middle = PIXELS // 2
    at = places - centre
    at /= np.linalg.norm(at, axis=1, keepdims=True)
    angle = max(EDGE * np.arccos(at[:, 2].clip(-1, 1)).max(), np.arccos(-centre[2] / radius))
    for place, value in zip(at, wave):
        turn, away = np.arctan2(place[1], place[0]), np.arccos(min(1.0, place[2])) / angle
        row = round(middle - 0.5 - away * np.sin(turn) * middle)
        column = round(middle - 0.5 + away * np.cos(turn) * middle)
        assert picture[row, column] == pytest.approx(value, abs=0.02 * np.ptp(wave))
    right, front = (made.matrix @ places[:, axis] for axis in (0, 1))
    assert right.reshape(PIXELS, PIXELS)[middle, -10] > 0 > right.reshape(PIXELS, PIXELS)[middle, 10]
    assert front.reshape(PIXELS, PIXELS)[10, middle] > 0 > front.reshape(PIXELS, PIXELS)[-10, middle]
    # Perrin's g against its series, term by term
    cosine = 0.3
    n = np.arange(1, 41)
    series = sum((2 * k + 1) / (k * (k + 1.0)) ** 4 * eval_legendre(k, cosine) for k in n) / (4 * np.pi)
    assert float(_spline(np.array([cosine]))[0]) == pytest.approx(series, rel=1e-12)


def test_moments_are_strong_and_apart() -> None:
    times = np.arange(100) / 100
    data = np.random.default_rng(0).standard_normal((5, 100)) * 0.01
    data[:, 37] += [5, -5, 5, -5, 0]
    data[:, 39] += [4, -4, 4, -4, 0]
    found = moments(data, times, 5)
    assert 0.37 in found and len(found) == 5 and found == sorted(found)
    data[:, 61] += [9, -9, 9, -9, 0]  # beyond the border of the next stretch: the strongest comes first
    data[:, 58] += [8, -8, 8, -8, 0]
    assert {0.37, 0.61} <= set(moments(data, times, 5))
    assert np.diff(found).min() >= 0.1 - 1e-9


def test_the_signed_map_is_paper_at_zero_and_even_on_both_sides() -> None:
    colours = np.asarray(diverging()(np.linspace(0, 1, 257)))[:, :3]
    assert colours[128].min() > 0.97
    light = colours @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light[:129]) > -1e-3).all() and (np.diff(light[128:]) < 1e-3).all()


def test_the_cortex_to_turn_carries_what_is_shown() -> None:
    points, faces = ball()
    n = len(points)
    half = Hemisphere(points * 0.07, faces, np.zeros(n), np.arange(n))
    areas = {"STG": np.flatnonzero(points[:, 0] < -0.7), "STG-R": n + np.flatnonzero(points[:, 0] > 0.7)}
    courses = {"STG": np.array([0.0, 2.0, 4.0]), "STG-R": np.array([1.0, 1.0, 1.0])}
    element = surface_element(draw(half, half, 40), areas, courses, np.array([0.0, 0.1, 0.2]), "nA m")
    held = json.loads(re.search(r"\}\)\((\{.*\})\)</script>", element, re.S).group(1))
    bytes_ = lambda text, kind: np.frombuffer(base64.b64decode(text), kind)  # noqa: E731
    corners = bytes_(held["points"], "<i2").reshape(-1, 3)
    triangles = bytes_(held["faces"], "<u2").reshape(-1, 3)
    assert triangles.max() == len(corners) - 1 and (triangles[: len(faces)] == faces).all()
    assert (corners[:n, 0] < 0).all() and (corners[n : 2 * n, 0] > 0).all()  # the halves do not touch
    assert held["values"] == [[0, 0.5, 1.0], [0.25, 0.25, 0.25]]
    left, right = (bytes_(one, np.uint8) for one in held["shares"])
    assert len(left) == 2 * n and left[:n].max() == 255 and not left[n:].any() and not right[:n].any()
    np.testing.assert_allclose(
        np.linalg.norm(bytes_(held["normals"], np.int8).reshape(-1, 3), axis=1), 127, atol=2
    )
    # outlines float where the share is one half
    ring = corners[2 * n :] / 32767 * np.abs(corners).max()
    assert len(ring) > 20
    assert held["first"] == 2  # the strongest moment
    at, facing = np.split(np.array(held["spots"][0]), 2, axis=1)  # of the left patch, facing left
    assert len(at) <= 40 and (at[:, 0] < 0).all() and facing[:, 0].mean() < -0.5
    bad = "</script><script>alert(1)</script>"
    other = surface_element(
        draw(half, half, 40), {bad: areas["STG"]}, {bad: courses["STG"]}, np.array([0.0, 0.1, 0.2]), "nA m"
    )
    assert other.count("<script") == other.count("</script") == 1 and "alert(1)" in other
    page = surface_page(element, "A <b>title</b>", "Illustrative.", 3, held["first"])
    assert "<b>title" not in page and "http" not in page and 'max="2" value="2"' in page


def ball(n: int = 3) -> tuple[np.ndarray, np.ndarray]:
    from scipy.spatial import ConvexHull

    k = np.arange(400) + 0.5
    z, turn = 1 - 2 * k / 400, np.pi * (1 + 5**0.5) * k
    points = np.stack([np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z], 1)
    faces = ConvexHull(points).simplices.astype(np.int64)
    a, b, c = points[faces].transpose(1, 0, 2)
    inward = (np.cross(b - a, c - a) * a).sum(1) < 0
    faces[inward] = faces[inward][:, ::-1]
    return points, faces
