"""Pictures of explanations: colour means relevance, zero is the ground, and nothing that is drawn is made up."""

from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from heschl.figures.explanation import (
    COOL,
    FADED,
    WARM,
    Seen,
    explanation_figure,
    hidden_share,
    limit_of,
    on_mel,
    overlaid,
    save_all,
    shown,
)
from heschl.figures.montage import bare, compared, montage
from heschl.figures.style import PHONE, TEXT, WIDE
from heschl.types import HeschlError, Span

RANDOM = np.random.default_rng(0)
SEEN = Seen(
    RANDOM.normal(size=(20, 50)),
    RANDOM.normal(size=(20, 50)),
    np.linspace(100, 4000, 20),
    np.arange(50) / 100,
    0.1 * RANDOM.normal(size=8000),
    16000,
    (Span("S", 0.0, 0.2), Span("IH", 0.2, 0.35), Span("six", 0.0, 0.4, "word")),
)
CURVES = {
    name: (np.linspace(0, 1, 11), np.linspace(0.9, end, 11))
    for name, end in (("most relevant first", 0.1), ("at random", 0.3), ("loudest first", 0.2))
}
SOUNDS = {"all of it": 0.9, "what it relied on": 0.8, "what spoke against": None, "the rest": 0.2}


def test_zero_is_the_grey_ground_and_equal_magnitudes_are_equally_deep():
    level = np.linspace(0, 1, 64).reshape(8, 8)
    ground = overlaid(level, np.zeros((8, 8)))
    assert np.allclose(ground.std(-1), 0, atol=0.01)  # no hue at all
    relevance = np.zeros((8, 8))
    relevance[2, 3], relevance[2, 4] = 1.0, -1.0
    drawn = overlaid(np.zeros((8, 8)), relevance, limit=1.0)
    assert np.allclose(drawn[2, 3], to_rgb(WARM), atol=0.01) and np.allclose(
        drawn[2, 4], to_rgb(COOL), atol=0.01
    )
    half = overlaid(np.zeros((8, 8)), relevance / 2, limit=1.0)
    paper = half[0, 0]
    shares = [np.linalg.norm(half[2, k] - paper) / np.linalg.norm(drawn[2, k] - paper) for k in (3, 4)]
    assert shares[0] == pytest.approx(shares[1], abs=1e-6)
    both = overlaid(level, -relevance, limit_of(relevance)), overlaid(level, relevance, limit_of(relevance))
    assert np.abs(both[0] - both[1]).max() > 0.1


def test_silence_and_no_relevance_can_be_drawn():
    assert np.isfinite(overlaid(np.zeros((3, 4)), np.zeros((3, 4)))).all() and limit_of(np.zeros(4)) == 1.0


@pytest.mark.parametrize("width", [WIDE, TEXT, PHONE])
def test_all_texts_lie_inside_the_figure_and_apart(width):
    figure = explanation_figure(
        SEEN, title="The network hears “six”: what speaks for it", curves=CURVES, sounds=SOUNDS, width=width
    )
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.canvas.draw()
    right, top = figure.bbox.x1, figure.bbox.y1
    boxes = []
    for text in figure.findobj(Text):
        if text.get_text().strip() and text.get_visible():
            box = text.get_window_extent(renderer)
            if box.width and box.x1 > 0:
                assert box.x0 >= -1 and box.x1 <= right + 1 and box.y0 >= -1 and box.y1 <= top + 1, text
                boxes.append((text.get_text(), box))
    words = {text for text, _ in boxes}
    assert {"s", "ih", "six", "most relevant first", "inaudible", "90 %"} <= words
    for k, (one, a) in enumerate(boxes):
        for other, b in boxes[k + 1 :]:
            wide = min(a.x1, b.x1) - max(a.x0, b.x0)
            tall = min(a.y1, b.y1) - max(a.y0, b.y0)
            assert not (wide > 1.5 and tall > 3 and one != other), (one, other)


def test_what_lies_in_the_padding_is_counted_not_drawn():
    seen = SEEN._replace(times=np.arange(50) / 100 - 0.2, wave=np.ones(1600))  # a clip of 0.1 s, padded
    first, last = shown(seen)
    assert first == pytest.approx(-0.04) and last == pytest.approx(0.14)
    size = np.abs(seen.relevance).sum(0)
    out = size[(seen.times < -0.04) | (seen.times > 0.14)].sum() / size.sum()
    assert hidden_share(seen) == pytest.approx(out)


def test_the_axis_of_seconds_is_the_clips():
    """Frames need not begin with the clip, nor fill it: the outermost stand for up to a frame more, not for what is not heard."""
    between = SEEN._replace(
        times=0.015 + np.arange(50) / 100, wave=np.ones(8240)
    )  # frames from 0.01 to 0.51 s of 0.515
    assert shown(between) == (0.0, 0.515)
    late = between._replace(
        times=0.02 + np.arange(50) / 100
    )  # AudioMNIST's spectrogram leaves out two frames
    assert shown(late) == (0.0, 0.515)
    early = between._replace(times=np.arange(50) / 100 - 0.2)  # padded before; deaf after 0.295 s
    assert shown(early) == pytest.approx((-0.04, 0.295))
    axis = montage({"a": between}).axes[0]
    left, right, *_ = axis.images[0].get_extent()
    assert left <= 0 and right >= 0.515 and axis.get_xlim() == (0.0, 0.515)
    assert np.allclose(
        axis.images[0].get_array()[:, 1:-1], overlaid(between.level, between.relevance), atol=1 / 255
    )


def test_no_tick_stands_after_the_end_of_the_clip():
    seen = SEEN._replace(wave=np.ones(5920))  # 0.37 s, and zeros after it
    axes = explanation_figure(seen, width=TEXT).axes
    lowest = [axis for axis in axes if axis.get_xlim() == pytest.approx(shown(seen))][-1]
    assert 0.3 < max(lowest.get_xticks()) <= 0.37 < 0.4 < shown(seen)[1]
    (lowest,) = compared({"lrp": seen}, {}).axes
    assert 0.3 < max(lowest.get_xticks()) <= 0.37


@pytest.mark.slow
def test_pictures_are_saved_whole_with_text_as_text(tmp_path):
    figure = explanation_figure(
        SEEN._replace(wave=None, frequencies=None, spans=()), width=TEXT, title="A title"
    )
    paths = save_all(figure, tmp_path / "a.b", (".svg", ".pdf"))
    assert [path.name for path in paths] == ["a.b.svg", "a.b.pdf"] and paths[1].read_bytes()[:5] == b"%PDF-"
    svg = paths[0].read_text()
    assert "A title" in svg and "feature" in svg and not re.search(r"<dc:date>\d", svg)


@pytest.mark.parametrize("n", [1, 3, 31])
def test_a_montage_has_one_picture_for_each(n):
    figure = montage({f"w{k}": SEEN for k in range(n)}, "Many", TEXT)
    assert [axis.get_title(loc="left") for axis in figure.axes] == [f"w{k}" for k in range(n)]
    last = shown(SEEN)[1]
    assert {axis.get_title(loc="right") for axis in figure.axes} == {f"{last:.1f} s"}


@pytest.mark.parametrize("width", [WIDE, TEXT, PHONE])
def test_every_picture_of_many_has_its_own_curves_beside_it(width):
    names = [f"w{k}" for k in range(7)]
    curves = {
        name: {own: (s, v * (k + 1) / 7) for own, (s, v) in CURVES.items()} for k, name in enumerate(names)
    }
    for figure in (
        montage(dict.fromkeys(names, SEEN), "Many", width, curves),
        compared(dict.fromkeys(names, SEEN), {}, "One", width, curves),
    ):
        for k, name in enumerate(names):
            picture, beside = figure.axes[2 * k], figure.axes[2 * k + 1]
            assert picture.get_title(loc="left") == name and picture.images and not beside.images
            for line, (_, scores) in zip(beside.lines, curves[name].values(), strict=True):
                assert np.array_equal(line.get_ydata(), scores)
            one, other = picture.get_position(), beside.get_position()
            assert one.x1 < other.x0 and other.x1 <= 1 and (one.y0, one.y1) == (other.y0, other.y1)
            assert (
                k == len(names) - 1
                or other.x1 < figure.axes[2 * k + 2].get_position().x0
                or (figure.axes[2 * k + 2].get_position().y1 < one.y0)
            )
        assert {"most relevant first", "at random", "loudest first"} <= set(words_of(figure))
        assert any("own full colour" in words for words in words_of(figure))


def test_on_a_mel_axis_a_tone_is_where_it_was():
    from heschl.signal import hz_to_mel

    frequencies = np.linspace(0, 8000, 257)
    rows = np.exp(-0.5 * ((frequencies[:, None] - [500, 3000]) / 100) ** 2)  # a bump at 500 Hz, then at 3 kHz
    seen = on_mel(Seen(rows, -rows, frequencies, np.array([0.0, 0.01])))
    assert np.allclose(np.diff(hz_to_mel(seen.frequencies)), np.diff(hz_to_mel(seen.frequencies))[0])
    assert (seen.frequencies[0], seen.frequencies[-1]) == pytest.approx((0, 8000))
    assert np.allclose(seen.frequencies[seen.level.argmax(0)], [500, 3000], rtol=0.03)
    exact = np.exp(-0.5 * ((seen.frequencies[:, None] - [500, 3000]) / 100) ** 2)
    assert np.abs(seen.level - exact).max() < 0.02 and np.array_equal(seen.relevance, -seen.level)


def test_where_not_all_symbols_have_room_the_longest_have_theirs():
    from matplotlib.figure import Figure

    from heschl.figures.marks import symbols

    axis = Figure(figsize=(4, 1)).subplots()
    axis.set_xlim(0, 1)
    spans = [
        Span("AA", 0.0, 0.3),
        Span("IY", 0.3, 0.31),
        Span("UW", 0.31, 0.32),
        Span("L", 0.32, 0.34),
        Span("S", 0.34, 1.0),
    ]
    symbols(axis, spans, "phone", 200, "black")
    assert {text.get_text() for text in axis.texts} == {
        "aa",
        "l",
        "s",
    }  # "l" is wider than its line, and free to be
    for line, span in zip(axis.lines, sorted(spans, key=lambda s: s.start - s.stop)[:3], strict=True):
        low, high = line.get_xdata()  # those of 2 points have no line between their gaps
        assert span.start < low < high < span.stop


def test_a_montage_says_how_long_the_clip_is_and_not_its_margin():
    padded = SEEN._replace(times=np.arange(50) / 100 - 0.1, wave=SEEN.wave[:4800])
    assert shown(padded) == pytest.approx((-0.04, 0.34))
    (axis,) = montage({"six": padded}).axes
    assert axis.get_title(loc="right") == "0.3 s" and axis.get_xlim() == (0.0, 0.3)


@pytest.mark.parametrize("width", [WIDE, TEXT])
def test_names_of_a_montage_do_not_run_into_how_long_it_is(width):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    names = [
        "yes",
        "a remarkably long name, was another remarkably long name of many words",
        "happy, was marvin",
    ]
    figure = montage(dict.fromkeys(names, SEEN), "", width)
    FigureCanvasAgg(figure).draw()
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles[0] == "yes" and titles[1].endswith("…") and titles[2] == names[2]
    for axis in figure.axes:
        assert axis._left_title.get_window_extent().x1 < axis._right_title.get_window_extent().x0


def test_no_words_of_a_comparison_hang_on_two_spaces():
    """An SVG sets several spaces as one, and a name would run into its note."""
    assert not any("  " in words for words in words_of(compared({"lrp": SEEN}, {"lrp": "takes it all"})))


def words_of(figure):
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text)]


@pytest.mark.parametrize("width", [WIDE, TEXT, PHONE])
@pytest.mark.parametrize(("played", "said"), [(0.5, True), (0.9, False), (None, False)])
def test_where_the_faded_sound_is_answered_otherwise_than_the_clip_the_picture_says_why(width, played, said):
    curves = {"most relevant first": (np.linspace(0, 1, 3), np.array([0.9, 0.4, 0.1]))}
    figure = explanation_figure(SEEN, curves=curves, sounds={"all of it": played}, width=width)
    assert (FADED in words_of(figure)) is said


@pytest.mark.parametrize(
    ("highest", "ticks"),
    [(3700, ["0.25", "0.5", "1", "2", "3"]), (7600, ["0.25", "0.5", "1", "2", "4", "6"])],
)
def test_the_upper_end_of_a_mel_axis_has_a_number(highest, ticks):
    rows = len(SEEN.level)
    frequencies = np.geomspace(100, highest, rows)
    figure = explanation_figure(SEEN._replace(frequencies=frequencies))
    assert [
        t.get_text() for axis in figure.axes if axis.get_ylabel() == "kHz" for t in axis.get_yticklabels()
    ] == ticks


def test_methods_stand_under_each_other_with_their_notes():
    figure = compared({"lrp": SEEN, "occlusion": SEEN}, {"lrp": "3 % left"}, "Why “six”?")
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["lrp: 3 % left", "occlusion"]


def test_a_bare_picture_tells_nothing_else():
    from matplotlib.text import Text

    assert not any(
        text.get_text() and text.get_visible() for text in bare(SEEN).findobj(Text) if text.axes is None
    )
    assert not bare(SEEN).axes[0].axison


def test_shapes_that_differ_are_refused():
    with pytest.raises(HeschlError, match="must be"):
        explanation_figure(SEEN._replace(times=np.arange(3)))
    with pytest.raises(HeschlError, match="explain a clip first"):
        montage({})
    with pytest.raises(HeschlError, match="at least one"):
        compared({}, {})


@pytest.mark.parametrize("width", [WIDE, TEXT, PHONE])
@pytest.mark.parametrize("frames", [51, 52, 60, 101])
def test_no_time_is_cut_off_at_the_edge(width, frames):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    values = RANDOM.normal(size=(20, frames))
    seen = SEEN._replace(level=values, relevance=values, times=np.arange(frames) / 100, wave=None)
    for figure in (explanation_figure(seen, width=width), compared({"lrp": seen}, {}, width=width)):
        renderer = FigureCanvasAgg(figure).get_renderer()
        edge = figure.bbox.width
        for axis in figure.axes:
            for label in axis.get_xticklabels():
                first, last = axis.get_xlim()
                if label.get_text() and first <= label.get_position()[0] <= last:
                    assert label.get_window_extent(renderer).x1 <= edge, label.get_text()


@pytest.mark.parametrize("samples", [700, 100_000])
def test_a_wave_is_one_thin_line_from_its_lowest_to_its_highest_sample(samples):
    """A filled outline of a short wave was twice as bold on pixels as in vector files."""
    from heschl.figures.spectrogram import spectrogram_figure

    wave = RANDOM.normal(size=samples)
    above = spectrogram_figure(wave, 16000).axes[0]
    (line,) = above.lines
    seen = line.get_ydata()
    assert not above.collections and len(seen) <= 4 * 720 + 100
    assert seen.min() == wave.min() and seen.max() == wave.max()
