"""The cortex is drawn where it is: a ball's outline, its nearest face, its light; values spread over a mesh."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from heschl.figures.brain import GAP, Hemisphere, area_hues, brain_course, brain_strip, draw
from heschl.figures.cortex import SAMPLES, corner_normals, ground, inside, look, paint, spread, where
from heschl.figures.film import film_pictures, moving
from heschl.figures.sheet import Sheet
from heschl.figures.style import DPI, new_figure, save


def ball(n: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """An octahedron whose faces are cut in four, n times, on the unit ball."""
    points = [
        np.array(p, float) for p in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))
    ]
    faces = [(0, 2, 4), (2, 1, 4), (1, 3, 4), (3, 0, 4), (2, 0, 5), (1, 2, 5), (3, 1, 5), (0, 3, 5)]
    for _ in range(n):
        middle: dict[tuple[int, int], int] = {}

        def half(a: int, b: int, middle: dict[tuple[int, int], int] = middle) -> int:
            key = (min(a, b), max(a, b))
            if key not in middle:
                one = points[a] + points[b]
                points.append(one / np.linalg.norm(one))
                middle[key] = len(points) - 1
            return middle[key]

        faces = [
            triangle
            for a, b, c in faces
            for triangle in (
                (a, half(a, b), half(c, a)),
                (half(a, b), b, half(b, c)),
                (half(c, a), half(b, c), c),
                (half(a, b), half(b, c), half(c, a)),
            )
        ]
    return np.array(points), np.array(faces, np.int64)


def test_a_ball_is_a_disc_seen_from_its_near_side() -> None:
    points, faces = ball()
    view = look(points, faces, (1, 0, 0), (0, 0, 1), 100)
    rows, columns = view.seen.shape
    assert columns == 100 * SAMPLES
    radius = (columns - 2 * SAMPLES) / 2
    assert view.seen.sum() == pytest.approx(np.pi * radius**2, rel=0.03)
    np.testing.assert_allclose(view.weights[view.seen].sum(1), 1, atol=1e-12)
    place = (points[view.corners] * view.weights[..., None]).sum(2)
    assert (place[view.seen][:, 0] > -0.1).all()  # the far half is hidden
    middle = place[rows // 2, columns // 2]
    np.testing.assert_allclose(middle, [1, 0, 0], atol=0.05)
    # seen from +x with z up, +y lies to the right
    assert place[rows // 2, columns - 12, 1] > 0.8 and place[12, columns // 2, 2] > 0.8


def test_the_light_comes_from_the_upper_left() -> None:
    points, faces = ball()
    view = look(points, faces, (1, 0, 0), (0, 0, 1), 80)
    n = view.seen.shape[0]
    assert view.light[n // 4, n // 3] > view.light[3 * n // 4, 2 * n // 3] + 0.4


def test_two_sheets_hide_one_another() -> None:
    """Of two squares one behind the other, the nearer is seen, whichever comes first."""
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
    for near in (0, 1):
        points = np.concatenate([square + np.array([0, 0, 1 - near]), square + np.array([0, 0, near])])
        faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int64)
        view = look(points, faces, (0, 0, 1), (0, 1, 0), 20)
        assert set(np.unique(view.corners[view.seen] // 4)) == {near}


def test_normals_of_a_ball_point_outwards() -> None:
    points, faces = ball()
    np.testing.assert_allclose(corner_normals(points, faces), points, atol=0.06)


def test_paint_leaves_small_values_bare_and_tints_large_ones() -> None:
    points, faces = ball()
    view, sulci = look(points, faces, (1, 0, 0), (0, 0, 1), 40), np.zeros(len(points))
    red = lambda share: np.stack([np.ones_like(share), 0 * share, 0 * share, np.ones_like(share)], -1)  # noqa: E731
    bare = paint(view, sulci)
    np.testing.assert_allclose(paint(view, sulci, np.full(len(points), 0.1), red, (0, 1), 0.2), bare)
    hot = paint(view, sulci, np.full(len(points), 1.0), red, (0, 1), 0.2)
    middle = hot[len(hot) // 2, hot.shape[1] // 2]
    assert middle[0] > 2 * int(middle[1]) and middle[3] == 255
    assert hot[0, 0, 3] == 0


def test_values_spread_from_their_sources() -> None:
    points, faces = ball()
    sources = np.arange(0, len(points), 7)
    values = np.random.default_rng(0).random((len(sources), 2))
    kept = spread(values, sources, faces, len(points), smooth=0)
    np.testing.assert_allclose(kept[sources], values)
    assert kept.min() >= values.min() - 1e-12 and kept.max() <= values.max() + 1e-12
    np.testing.assert_allclose(spread(np.ones(len(sources)), sources, faces, len(points)), 1)
    neighbours = {int(v) for face in faces if 0 in face for v in face} - {0}
    one = spread(np.r_[1.0, np.zeros(len(sources) - 1)], sources, faces, len(points), smooth=0)
    assert all(one[v] > 0 for v in neighbours - set(sources.tolist()))


def test_an_area_is_outlined_where_it_is() -> None:
    points, faces = ball()
    view = look(points, faces, (1, 0, 0), (0, 0, 1), 60)
    share = inside(view, points[:, 2] > 0)
    assert share[: len(share) // 2 - 4, 30].max() == pytest.approx(1)
    assert share[len(share) // 2 + 4 :].max() == 0


def test_where_corners_are_seen_by_looking_at_every_sample() -> None:
    points, faces = ball()
    view = look(points, faces, (1, 0.4, 0.2), (0, 0, 1), 40)
    for members in (points[:, 1] > 0.7, points[:, 2] > 0.95, points[:, 0] < -0.99, points[:, 0] > 2):
        touched = members[view.corners].any(-1) & view.seen
        if not touched.any():
            assert where(view, members) is None
            continue
        box = where(view, members)
        assert box is not None
        for axis, part in enumerate(box):
            hit = np.flatnonzero(touched.any(1 - axis))
            assert part.start == hit[0] - hit[0] % SAMPLES
            assert part.stop == hit[-1] + SAMPLES - hit[-1] % SAMPLES
    assert where(view, points[:, 0] < -0.99) is None  # behind


def test_a_sheet_is_laid_down_pixel_by_pixel(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (90, 120, 4), dtype=np.uint8)
    picture[..., 3] = 255
    figure = new_figure(200 / DPI, 150 / DPI)
    figure.set_layout_engine("none")
    axes = figure.add_axes((40 / 200, 20 / 150, 120 / 200, 90 / 150))
    axes.set(xlim=(0, 120), ylim=(90, 0))
    axes.set_axis_off()
    Sheet(axes, picture)
    save(figure, tmp_path / "sheet", svg=False)
    found = np.asarray(Image.open(tmp_path / "sheet.png"))
    np.testing.assert_array_equal(found[40:130, 40:160], picture[..., :3])
    assert (found[:40] >= 250).all() and (found[:, 160:] >= 250).all()  # paper
    figure.set_dpi(DPI / 2)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    half = np.asarray(canvas.buffer_rgba())[20:65, 20:80, :3].astype(int)
    assert half.std() > 40  # of another size it is drawn by matplotlib


@pytest.mark.slow
def test_figures_of_a_small_brain() -> None:
    points, faces = ball(4)
    half = Hemisphere(points, faces, np.zeros(len(points)), np.arange(len(points)))
    drawn = draw(half, half, pixels=90)
    areas = {
        "STG": np.flatnonzero(points[:, 0] < -0.8),
        "STG-R": len(points) + np.flatnonzero(points[:, 0] > 0.8),
    }
    hues = area_hues(areas)
    assert hues["STG"] == hues["STG-R"]
    values = np.random.default_rng(1).random((2 * len(points), 3))
    figure = brain_course(drawn, values, [0.1, 0.2, 0.3], areas, "A title", "nA m")
    assert len(figure.axes) == 2  # all looks are one picture, beside their bar
    (sheet,) = figure.axes[0].images
    assert sheet.get_array().shape[1] == 4 * (90 + GAP)
    rows = np.asarray(sheet.get_array())[..., 3].reshape(3, -1, 4 * (90 + GAP)).any((1, 2))
    assert rows.all()  # something in every row
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert "100\u202fms" in texts and texts.count("STG") == 1 and texts.count("STG-R") == 1
    assert brain_strip(drawn, None, areas, "Areas")
    rising = areas_mask(areas, 2 * len(points))[:, None] * [1, 2, 3]
    looks = moving(drawn, rising, areas)
    assert [len(look.moments) for look in looks] == [
        3,
        0,
        3,
        0,
    ]  # what lies on the other face does not change
    whole = looks[0].picture(2)
    assert whole.dtype == np.uint8 and whole.shape == looks[0].still.shape
    assert (whole != looks[0].still).any() and (looks[0].picture(0) != whole).any()
    film = film_pictures(looks, [0.0, 0.1, 0.2], pixels=400)
    assert len(film) == 3 and film[0].dtype == np.uint8 and (film[0] != film[1]).any()


def areas_mask(areas: dict[str, np.ndarray], n: int) -> np.ndarray:
    mask = np.zeros(n)
    for sources in areas.values():
        mask[sources] = 1
    return mask


def test_painting_a_part_is_painting_the_whole() -> None:
    points, faces = ball()
    view, sulci = (
        look(points, faces, (1, 0.4, 0.2), (0, 0, 1), 40),
        np.random.default_rng(0).random(len(points)),
    )
    values = np.where(points[:, 1] > 0.7, 1.0, 0.0)
    red = lambda share: np.stack([np.ones_like(share), 0 * share, 0 * share, np.ones_like(share)], -1)  # noqa: E731
    part = paint(view, sulci, values, red, (0, 1), 0.2) / 255
    # the definition, over every pixel
    height = (values[view.corners] * view.weights).sum(-1)
    fade = np.clip((height - 0.2) / 0.15, 0, 1)[..., None]
    lit = np.clip(red(height)[..., :3] * (0.62 + 0.46 * view.light)[..., None], 0, 1)
    bare = ground(view, sulci).sampled
    rgb = (bare + fade * 0.94 * (lit - bare)) * view.seen[..., None]
    rows, columns = part.shape[:2]
    expected = rgb.reshape(rows, SAMPLES, columns, SAMPLES, 3).mean((1, 3))
    np.testing.assert_allclose(part[..., :3] * part[..., 3:], expected, atol=1.01 / 255)
    assert np.abs(part - paint(view, sulci) / 255).max() > 0.2
