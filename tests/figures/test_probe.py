"""Pictures of what is inside a network: their titles say what the numbers say."""

from __future__ import annotations

import pytest

from heschl.figures.probe import selectivity_figure


@pytest.mark.parametrize(
    ("median", "share", "said"),
    [
        (2, 0.9, "Half of late's units set their favourite phone apart from 2 of 2 others or more"),
        (0, 0.25, "Few units prefer a phone to any other: 25 % of late's, the most of all"),
        (0, 0.0, "No unit prefers a phone to any other"),
    ],
)
def test_selectivity_says_how_many_units_prefer_anything(median, share, said):
    def area(scale):
        psi = {"names": ["AA", "S", "T"], "most": 2, "mean": [0.0, 0.1 * scale, 0.2 * scale]}
        return {"psi": psi | {"selective_units": share * scale, "median_of_best": median * scale}}

    figure = selectivity_figure({"early": area(0.5), "late": area(1.0)}, "psi")
    assert figure.get_suptitle().replace("\n", " ") == said
