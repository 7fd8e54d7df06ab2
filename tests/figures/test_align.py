"""Pictures of alignment: what they say, with and without places."""

from __future__ import annotations

import numpy as np
import pytest

from heschl.figures.align import layers_figure, partition_figure, response_figure
from heschl.figures.style import inline


def words(figure: object) -> str:
    return inline(figure, "a", "alt")  # type: ignore[arg-type]


def test_the_response_without_places() -> None:
    rng = np.random.default_rng(0)
    r = np.array([0.3, 0.1, -0.02])
    figure = response_figure(np.arange(-3, 10) / 32, rng.standard_normal((13, 3)), r, 0.05, None, 1, "fitted")
    assert "Recordings follow" in figure._suptitle.get_text() and "one subject" in figure._suptitle.get_text()
    text = words(figure)
    assert "chance 0.050" in text and "all 3 channels" in text
    none = response_figure(np.arange(3) / 32, np.zeros((3, 3)), r - 0.3, 0.05, None, 4, "fitted")
    assert "do not follow" in none._suptitle.get_text()


@pytest.mark.parametrize(("subjects", "places"), [(1, 2), (7, 5)])
def test_layers_by_place(subjects: int, places: int) -> None:
    rng = np.random.default_rng(0)
    gain = rng.standard_normal((subjects, 3, places)) * 0.01
    names = [f"place {k}" for k in range(places)]
    figure = layers_figure(
        gain, gain / 2, ["early", "middle", "late"], names, None, "fitted to simulated data"
    )
    assert "fitted to simulated data" in figure._suptitle.get_text()
    text = words(figure)
    assert all(name in text for name in (*names, "trained", "untrained, mean of seeds", "late"))


def test_layers_over_many_sensors() -> None:
    mne = pytest.importorskip("mne")
    montage = mne.channels.make_standard_montage("biosemi16")
    info = mne.create_info(montage.ch_names, 64.0, "eeg").set_montage(montage)
    gain = np.random.default_rng(0).random((4, 2, 16)) * 0.02
    text = words(layers_figure(gain, gain / 2, ["early", "late"], montage.ch_names, info, "fitted"))
    assert "early, over acoustics" in text and "late, and over untrained" in text
    for shown, title in (([], "No layer is shown to say more than"), (["late"], "late says more than")):
        figure = layers_figure(
            gain[:1], gain[:1] / 2, ["early", "late"], montage.ch_names, info, "fitted", shown
        )
        assert " ".join(figure._suptitle.get_text().split()).startswith(title)


def test_shares_of_variance_by_place_and_over_many() -> None:
    rng = np.random.default_rng(0)
    for places in (3, 40):
        parts = {what: rng.random((2, 2, places)) for what in ("acoustics_alone", "shared", "layer_alone")}
        figure = partition_figure(parts, ["early", "late"], [f"place {k}" for k in range(places)], "fitted")
        heights = [bar.get_height() for bar in figure.axes[0].patches]
        first = {what: values[:, :, 0] if places == 3 else values.mean(2) for what, values in parts.items()}
        expected = [100 * first[what].mean(0) for what in ("acoustics_alone", "shared", "layer_alone")]
        np.testing.assert_allclose(heights, np.concatenate(expected))
        text = words(figure)
        assert "layer alone" in text and ("place 2" if places == 3 else "mean of 40 places") in text
