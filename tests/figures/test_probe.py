"""Pictures of what is inside a network: their titles say what the numbers say."""

from __future__ import annotations

import pytest

from heschl.figures.probe import probes_figure, selectivity_figure, similarity_figure


@pytest.mark.parametrize(
    ("median", "share", "said"),
    [
        (2, 0.9, "Half of late’s units set their favourite phone apart from 2 of 2 others or more"),
        (0, 0.25, "Few units prefer a phone to any other: 25 % of late’s, the most of all"),
        (0, 0.0, "No unit prefers a phone to any other"),
    ],
)
def test_selectivity_says_how_many_units_prefer_anything(median, share, said):
    def area(scale):
        psi = {"names": ["AA", "S", "T"], "most": 2, "mean": [0.0, 0.1 * scale, 0.2 * scale]}
        return {"psi": psi | {"selective_units": share * scale, "median_of_best": median * scale}}

    figure = selectivity_figure({"early": area(0.5), "late": area(1.0)}, "psi")
    assert figure.get_suptitle().replace("\n", " ") == said


def row(area, target, score, gain, chance=0.1):
    def around(value, size):
        return {"value": value, "low": value - size, "high": value + size}

    scores = {"score": around(score, 0.1), "gain": gain, "untrained": around(score - gain["value"], 0.1)}
    about = {"measure": "balanced accuracy", "classes": 10, "n": 40, "samples_are": "clips", "n_speakers": 12}
    return {
        "area": area,
        "target": target,
        "chance": chance,
        "control": around(chance, 0.05),
        "selectivity": around(score - chance, 0.1),
        **scores,
        **about,
    }


def test_probes_are_said_to_read_what_training_added():
    sure, unsure = {"value": 0.2, "low": 0.1, "high": 0.3}, {"value": 0.05, "low": -0.05, "high": 0.15}
    rows = [
        row("early", "word", 0.5, sure), row("late", "word", 0.6, unsure),
        row("early", "gender", 0.8, unsure), row("late", "gender", 0.7, unsure),
        row("early", "pitch", 0.15, sure), row("late", "pitch", 0.12, sure),
    ]  # fmt: skip
    said = probes_figure(rows, ["early", "late"]).get_suptitle().replace("\n", " ").replace("\u202f", " ")
    assert said == (
        "A straight line reads word better than from an untrained network only from early, pitch no better than guessing, "
        "gender no better than from an untrained network (12 speakers, 95 % intervals)"
    )
    rows[1] = row("late", "word", 0.6, sure)  # now the highest of all
    said = probes_figure(rows, ["early", "late"]).get_suptitle().replace("\n", " ")
    assert "reads word best from late, pitch" in said


@pytest.mark.parametrize(("n", "said"), [(7, "intervals (few, so by Student's t))"), (8, "intervals)")])
def test_the_title_says_how_intervals_of_few_speakers_are_made(n, said):
    rows = [row("late", "word", 0.6, {"value": 0.2, "low": 0.1, "high": 0.3}) | {"n_speakers": n}]
    assert probes_figure(rows, ["late"]).get_suptitle().replace("\n", " ").endswith(said)


def test_what_control_labels_do_as_well_is_not_said_to_be_read():
    sure = {"value": 0.2, "low": 0.1, "high": 0.3}
    rows = [row("early", "word", 0.5, sure), row("late", "word", 0.6, sure)]

    def said():
        return probes_figure(rows, ["early", "late"]).get_suptitle().replace("\n", " ")

    rows[1]["selectivity"] = {"value": 0.1, "low": -0.1, "high": 0.3}
    assert "reads word better than control labels only from early" in said()
    rows[0]["selectivity"] = rows[1]["selectivity"]
    assert "reads word no better than control labels" in said()


@pytest.mark.parametrize(("n", "said"), [(3, "−0.01"), (9, "−.01")])
def test_numbers_of_many_layers_stand_apart(n, said):
    areas = [f"conv{k}" for k in range(n)]
    table = [[1.0 if k == j else -0.01 for k in range(n)] for j in range(n)]
    texts = [
        text.get_text() for text in similarity_figure({"trained with itself": table}, areas).axes[0].texts
    ]
    assert set(texts) == {"1.00", said}


@pytest.mark.parametrize(
    ("least", "said"),
    [(0.42, "Training changed the layers in late most: CKA 0.42"), (0.997, "changed no layer")],
)
def test_what_training_did_not_change_is_not_said_to_be_changed_most(least, said):
    tables = {"trained with untrained": [[0.999, 0.5], [0.5, least]]}
    assert said in similarity_figure(tables, ["early", "late"]).get_suptitle().replace("\n", " ")


@pytest.mark.parametrize(("lowest", "said"), [(-3.0, True), (-0.2, False)])
def test_what_lies_under_the_panel_is_said_to(lowest, said):
    sure = {"value": 0.2, "low": 0.1, "high": 0.3}
    rows = [
        row(area, "pitch", score, sure, 0.0) | {"measure": "R²"}
        for area, score in (("a", 0.5), ("b", lowest))
    ]
    ticks = [label.get_text() for label in probes_figure(rows, ["a", "b"]).axes[0].get_yticklabels()]
    assert ("< −0.5" in ticks) is said


def test_square_maps_have_their_place_at_the_first_drawing():
    areas = ["stem", "context", "early", "late"]
    table = [[1.0] * 4 for _ in areas]
    figure = similarity_figure({"trained with itself": table, "trained with untrained": table}, areas)
    first = [axis.get_position().bounds for axis in figure.axes]
    figure.draw_without_rendering()
    for before, after in zip(first, figure.axes, strict=True):
        assert before == pytest.approx(after.get_position().bounds, abs=6e-3)
