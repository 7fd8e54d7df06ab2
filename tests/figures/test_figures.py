"""Figures: one look, text as text, colours that follow the page, and readable at the sizes that occur."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from heschl.figures import style
from heschl.figures.confusion import confusion_figure
from heschl.figures.curves import curves
from heschl.figures.speakers import speakers
from heschl.figures.spectrogram import spectrogram_figure
from heschl.types import HeschlError

HISTORY = [
    {
        "epoch": str(k),
        "train_loss": str(2 / k),
        "validation_loss": str(2.2 / k),
        "train_balanced_accuracy": "" if k == 1 else "0.9",
        "validation_balanced_accuracy": str(0.5 + 0.1 * k - 0.015 * k * k),
    }
    for k in range(1, 7)
]


def table(n: int) -> list[dict[str, object]]:
    return [
        {"group": f"s{k}", "n": 10, "accuracy": k / n, "low": k / n * 0.9, "high": min(1, k / n * 1.1)}
        for k in range(n)
    ]


@pytest.mark.parametrize("label", ["$x$", "$\\nothing$", "5$ or 6$"])
def test_dollars_in_a_label_stay_dollars(label: str) -> None:
    svg = style.inline(confusion_figure(matrix(2), [label, "b"], style.TEXT), "m", "alt")
    assert f">{label}</text>" in svg


def matrix(n: int) -> np.ndarray:
    return 20 * np.eye(n, dtype=int) + (np.add.outer(range(n), range(n)) % 7 == 1)


DRAWN = {
    "curves": lambda width: curves(HISTORY, width=width),
    "confusion": lambda width: confusion_figure(matrix(10), list("abcdefghij"), width=width),
    "confusion35": lambda width: confusion_figure(matrix(35), [f"word{k}" for k in range(35)], width=width),
    "speakers": lambda width: speakers(table(12), overall=0.5, chance=0.1, width=width),
    "speakers-many": lambda width: speakers(table(90), overall=0.5, width=width),
    "spectrogram": lambda width: spectrogram_figure(np.sin(np.arange(8000) / 5), 8000, width=width),
}


@pytest.mark.parametrize("width", [style.TEXT, style.PHONE])
@pytest.mark.parametrize("name", DRAWN)
def test_every_figure_goes_into_a_page(name, width):
    svg = style.inline(DRAWN[name](width), "fig-1", 'said "so"')
    root = ET.fromstring(svg)  # well-formed
    assert root.get("aria-label") == 'said "so"'
    assert float(root.get("width")) == pytest.approx(width * 96, abs=1)
    assert "<text" in svg and "DejaVu" not in svg  # text stays text, in the page's own type
    assert "var(--ink)" in svg or "var(--soft)" in svg
    for light, _ in style.COLOURS.values():
        assert light not in svg
    ids = re.findall(r'id="([^"]+)"', svg)
    assert len(ids) == len(set(ids)) and all(one.startswith("fig-1-") for one in ids)
    links = re.findall(r'(?:href="#|url\(#)([^")]+)', svg)
    assert set(links) <= set(ids)


@pytest.mark.slow
def test_saved_figures_are_the_same_bytes_each_time(tmp_path):
    first = style.save(curves(HISTORY), tmp_path / "a")
    second = style.save(curves(HISTORY), tmp_path / "b")
    assert [path.suffix for path in first] == [".svg", ".png"]
    assert first[0].read_bytes() == second[0].read_bytes()


def test_the_map_of_shares_is_even_in_lightness_light_and_dark():
    for dark in (False, True):
        lightness = np.array([style._to_oklab(colour)[0] for colour in style.shades(dark)])
        steps = np.diff(lightness)
        assert (np.sign(steps) == np.sign(steps[0])).all()
        assert np.abs(steps - steps.mean()).max() < 0.15 * abs(steps.mean()) + 0.004
    assert style.shades()[0] == style.PAPER and style.shade(0.0)[0] == style.PAPER
    assert style.shade(0.001)[0] != style.PAPER


def test_everything_that_is_read_stands_out_from_its_ground():
    """WCAG 2, AA: 4.5 to 1, light and dark; black and white stand 21 to 1 apart, #767676 just makes it on white."""
    assert style.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert style.contrast("#ffffff", "#767676") == pytest.approx(4.54, abs=0.005)
    values = [dict(re.findall(r"--(\w+): (#\w+);", side)) for side in style.css()]
    named = {name for one in values for name in one if name.endswith("_text")}
    assert {"orange_text", "vermilion_text"} <= named
    for side, own in enumerate(values):
        for name in ("ink", "soft", "blue", *named):
            assert style.contrast(own[name], own["paper"]) >= 4.5, name
        ground = _mixed(own["ink"], own["paper"], 0.06)  # of commands on a page
        assert style.contrast(own["ink"], ground) >= 4.5 and style.contrast(own["soft"], ground) >= 4.5
        for step in range(style.SHADES):
            ground, ink = (_dark(colour) if side else colour for colour in style.numbered(step))
            assert style.contrast(ground, ink) >= 4.5
    assert style.legible(style.BLUE) == style.BLUE != style.legible(style.ORANGE)


def _mixed(one, other, share):
    pairs = ((int(one[k : k + 2], 16), int(other[k : k + 2], 16)) for k in (1, 3, 5))
    return "#" + "".join(f"{round(share * a + (1 - share) * b):02x}" for a, b in pairs)


def _dark(colour):
    return dict(zip(style.shades(), style.shades(dark=True)), **dict(style.COLOURS.values()))[colour]


def test_oklab_of_known_colours():
    """White and pure red, from the table in Ottosson's definition of OKLab."""
    assert style._to_oklab("#ffffff") == pytest.approx([1, 0, 0], abs=1e-3)
    assert style._to_oklab("#ff0000") == pytest.approx([0.628, 0.225, 0.126], abs=1e-3)
    assert style.to_hex(style._to_oklab("#4aa9e0")) == "#4aa9e0"


def test_every_variable_has_a_light_and_a_dark_value():
    light, dark = (set(re.findall(r"--(\w+):", side)) for side in style.css())
    assert light == dark and {"paper", "ink", "blue", "s3"} <= light


def test_labels_are_moved_apart():
    placed = style.apart([0.5, 0.51, 0.1], 0.1)
    assert placed[1] - placed[0] == pytest.approx(0.1) and placed[2] == 0.1
    assert sum(placed[:2]) == pytest.approx(1.01)


@pytest.mark.slow
def test_titles_say_the_answer():
    assert (
        "no two of them alike"
        in confusion_figure(np.array([[3, 1], [0, 4]]), ["a", "b"])._suptitle.get_text()
    )
    assert "taken for “b”" in confusion_figure(np.array([[3, 2], [0, 4]]), ["a", "b"])._suptitle.get_text()
    assert "No clip is mistaken" in confusion_figure(np.eye(2, dtype=int), ["a", "b"])._suptitle.get_text()
    assert "after epoch 3" in curves(HISTORY)._suptitle.get_text()
    alone, tied = table(5), table(5)
    tied[1] = {**tied[1], "accuracy": 0.0}
    assert (
        speakers(alone, overall=0.4)
        ._suptitle.get_text()
        .replace("\n", " ")
        .startswith("From 0\u202f% (s0) to 80\u202f%:")
    )
    assert (
        speakers(tied, overall=0.4)
        ._suptitle.get_text()
        .replace("\n", " ")
        .startswith("From 0\u202f% to 80\u202f%:")
    )


@pytest.mark.slow
def test_of_many_classes_those_most_often_mistaken_are_drawn():
    counts = 10 * np.eye(2000, dtype=int)
    counts[1500, 7], counts[7, 1999] = 5, 3  # of 15 and of 13
    figure = confusion_figure(counts, [f"c{k}" for k in range(2000)])
    names = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert len(names) == 100 and {"c7", "c1500", "c1999"} < set(names)
    assert names == sorted(names, key=lambda name: int(name[1:]))
    title = figure._suptitle.get_text().replace("\n", " ")
    assert "100 of 2,000 classes" in title and "“c1500” taken for “c7”, 5 times in 15" in title


def test_nothing_to_draw_is_said():
    with pytest.raises(HeschlError, match="no history"):
        curves([])
    with pytest.raises(HeschlError, match="one channel"):
        spectrogram_figure(np.zeros((2, 5)), 8000)


def test_a_title_breaks_between_words_not_inside_a_runs_name():
    from heschl.figures.style import wrapped

    title = "audionet-v1-small understands less than words-crnn-adamw: −13.6 points, 204 speakers"
    for width in (2.5, 4, 5, 6, 7.5):
        assert " ".join(wrapped(title, width)) == title
