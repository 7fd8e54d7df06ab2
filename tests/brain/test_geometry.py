"""The geometry under the brain side, without any head: spheres, planes and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from heschl.brain.anatomy import to_mni152, to_mni305
from heschl.brain.bem import icosphere, inside, layers, ray_distances
from heschl.brain.coregister import similarity
from heschl.brain.geodesic import geodesic, surface_graph
from heschl.types import HeschlError


def test_an_icosphere_is_a_sphere() -> None:
    points, faces = icosphere(3)
    assert (len(points), len(faces)) == (642, 1280)
    assert np.allclose(np.linalg.norm(points, axis=1), 1)
    a, b, c = (points[faces[:, k]] for k in range(3))
    volume = np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6  # positive: turned outwards
    assert volume == pytest.approx(4 / 3 * np.pi, rel=0.01)


def test_rays_reach_an_ellipsoid_where_its_equation_says() -> None:
    points, faces = icosphere(4)
    axes = np.array([0.07, 0.09, 0.06])
    centre = np.array([0.001, -0.002, 0.003])
    directions = icosphere(1)[0]
    found = ray_distances(centre, directions, points * axes + centre, faces)
    assert np.allclose(found, 1 / np.linalg.norm(directions / axes, axis=1), rtol=4e-3)


def test_what_lies_inside_by_solid_angle() -> None:
    points, faces = icosphere(2)
    rng = np.random.default_rng(0)
    where = rng.standard_normal((300, 3))
    radius = np.linalg.norm(where, axis=1)
    sure = (radius < 0.93) | (radius > 1.0)
    assert np.array_equal(inside(where[sure], points, faces), radius[sure] < 0.93)


def test_three_layers_lie_within_one_another() -> None:
    points, faces = icosphere(4)
    surfaces, triangles = layers((points * 0.08, faces), (points * 0.1, faces))
    radii = {name: np.linalg.norm(one, axis=1) for name, one in surfaces.items()}
    assert np.allclose(radii["inner_skull"], 0.08, rtol=5e-3)
    assert np.allclose(radii["outer_skull"], 0.089, rtol=5e-3)
    assert np.allclose(radii["outer_skin"], 0.1, rtol=5e-3)
    assert triangles.shape == (1280, 3)
    with pytest.raises(HeschlError, match="does not lie within the scalp"):
        layers((points * 0.1, faces), (points * 0.08, faces))


def test_ways_along_a_sphere_are_great_circles() -> None:
    points, faces = icosphere(4)
    points = points * 0.05
    found = geodesic(surface_graph(points, faces), 7)
    angle = np.arccos(np.clip(points @ points[7] / 0.05**2, -1, 1))
    far = angle > 0.2
    ratio = found[far] / (0.05 * angle[far])
    assert ratio.min() > 0.99
    assert ratio.max() < 1.05
    assert np.isinf(geodesic(surface_graph(points, faces), 7, limit=0.02)[found > 0.021]).all()


def test_corners_of_three_and_four_triangles_by_closed_forms() -> None:
    """A tetrahedron, whose corners are all an edge apart, and an octahedron, whose ends are two triangles apart."""
    corners = np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(8)
    faces = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
    assert np.allclose(geodesic(surface_graph(corners, faces), 0), [0, 1, 1, 1])
    corners = np.concatenate([np.eye(3), -np.eye(3)]) / np.sqrt(2)
    faces = np.array([[x, y, z] for x in (0, 3) for y in (1, 4) for z in (2, 5)])
    found = geodesic(surface_graph(corners, faces), 0)
    assert np.allclose(found, [0, 1, 1, np.sqrt(3), 1, 1])


def test_a_fold_is_longer_than_a_jump() -> None:
    """Two walls of a sulcus: 2 mm apart through the air, 40 mm along the surface."""
    down = np.stack([np.zeros(21), np.zeros(21), np.linspace(0, -0.02, 21)], 1)
    profile = np.concatenate([down, down[::-1] + np.array([0.002, 0, 0])])
    points = np.concatenate([profile + np.array([0, y, 0]) for y in (0, 0.001, 0.002)])
    n, faces = len(profile), []
    for row in range(2):
        for k in range(n - 1):
            a, b = row * n + k, row * n + k + 1
            faces += [(a, b, a + n), (b, b + n, a + n)]
    found = geodesic(surface_graph(points, np.array(faces)), 0)
    assert found[n - 1] == pytest.approx(0.042, rel=0.01)


def test_mni_spaces_by_freesurfers_own_example() -> None:
    there = to_mni152(np.array([0.010, -0.020, 0.035]))
    assert np.allclose(there * 1000, [10.695, -18.409, 36.137], atol=5e-3)  # its digits
    rng = np.random.default_rng(0)
    some = rng.uniform(-0.07, 0.07, (5, 4, 3))
    assert np.allclose(to_mni305(to_mni152(some), "MNI152"), some, atol=1e-12)
    assert np.array_equal(to_mni305(some, "MNI305"), some)
    with pytest.raises(HeschlError, match="Talairach"):
        to_mni305(some, "Talairach")


@pytest.mark.parametrize("scaled", [True, False])
def test_a_known_similarity_is_found_again(scaled: bool) -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((20, 3))
    turn, shift, scale = Rotation.random(rng=rng).as_matrix(), rng.standard_normal(3), 1.3 if scaled else 1.0
    weights = rng.uniform(0.1, 2, 20)
    found = similarity(points, scale * points @ turn.T + shift, weights, scaled)
    assert found[0] == pytest.approx(scale)
    assert np.allclose(found[1], turn)
    assert np.allclose(found[2], shift)
