"""Real auditory evoked fields: how far from Heschl's gyrus each inverse puts them.

    python bench/auditory.py [--data ../shared/data/mne_auditory_evoked] [--out TABLE.md]

One person heard tones in the left or the right ear (MNE's sample data: nave 3 and 6, so that noise is plenty). No MRI
is there: the template is fitted to the digitised head. An estimate's peak in each hemisphere is the source with the
highest root mean square from 75 to 120 ms; a dipole is fitted to each side's temporal sensors at the moment of their
greatest field in that window. Goodness of fit is the share of the whitened signal's power that the sources explain.
Under two minutes on two cores.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mne
import numpy as np

from heschl.brain.anatomy import HEMISPHERES, to_mni305
from heschl.brain.areas import read_areas
from heschl.brain.coregister import Fit, fit_template
from heschl.brain.forward import forward_solution
from heschl.brain.inverse import METHODS, cross_talk, estimate, inverse_operator, peak
from heschl.brain.patch import patch
from heschl.files import write_text
from heschl.types import BrainMap

WINDOW = (0.075, 0.120)  # s, round the N100m
LIMIT = 0.025  # m: dSPM's peaks must lie so near
SNR = 3.0
AREAS = ("HG", "STG", "TP", "TPJ", "IFG")
Row = tuple[str, str, str, float, float]  # ear, inverse, hemisphere, metres, goodness of fit


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "mne_auditory_evoked"
    parser.add_argument("--data", type=Path, default=beside)
    parser.add_argument("--out", type=Path, help="write the table here as well")
    given = parser.parse_args(arguments)
    mne.set_log_level("error")
    evoked, covariance = recordings(given.data)
    fit = fit_template(evoked[0].info)
    forward = forward_solution(evoked[0].info, fit.anatomy)
    operator = inverse_operator(evoked[0].info, fit.anatomy, covariance, forward=forward)
    rows: list[Row] = []
    for one in evoked:
        for method in METHODS:
            rows += inverse_rows(one, operator, method, fit, covariance)
        rows += dipole_rows(one, fit, covariance)
    text = table(rows, fit, evoked, operator)
    print(text)
    if given.out:
        write_text(given.out, text + "\n")
    far = [row for row in rows if row[1] == "dSPM" and row[3] > LIMIT]
    for ear, _, side, metres, _ in far:
        print(f"dSPM for the {ear} ear peaks {metres * 1000:.0f} mm from the {side} gyrus", file=sys.stderr)
    return 1 if far else 0


def recordings(folder: Path) -> tuple[list[Any], Any]:
    """Answers to tones in the left and the right ear, MEG, baseline corrected; and the noise covariance."""
    evoked = [
        mne.read_evokeds(folder / "test-ave.fif.gz", condition=f"{ear} Auditory", baseline=(None, 0)).pick(
            "meg"
        )
        for ear in ("Left", "Right")
    ]
    covariance = mne.read_cov(folder / "test-cov.fif.gz")
    with np.errstate(all="ignore"):
        return evoked, mne.cov.regularize(covariance, evoked[0].info, mag=0.1, grad=0.1)


def gyrus(side: str) -> np.ndarray:
    area = read_areas().area("HG" if side == "left" else "HG-R")
    return to_mni305(np.array(area.centre), area.space)


def inverse_rows(evoked: Any, operator: Any, method: str, fit: Fit, covariance: Any) -> list[Row]:
    found = estimate(evoked, operator, method, SNR, fit.anatomy)  # type: ignore[arg-type]
    _, residual = mne.minimum_norm.apply_inverse(
        evoked, operator, lambda2=1 / SNR**2, method=method, return_residual=True
    )
    explained = goodness(evoked, residual, covariance)
    rows, n = [], len(fit.anatomy.vertices[0])
    for side, part in zip(HEMISPHERES, (slice(None, n), slice(n, None)), strict=True):
        half = BrainMap(
            found.values[part], found.positions[part], found.times, found.unit, found.space, "fitted"
        )
        _, place = peak(half, *WINDOW)
        rows.append((ear(evoked), method, side, float(np.linalg.norm(place - gyrus(side))), explained))
    return rows


def dipole_rows(evoked: Any, fit: Fit, covariance: Any) -> list[Row]:
    rows = []
    for side in HEMISPHERES:
        names = mne.read_vectorview_selection(f"{side.capitalize()}-temporal", info=evoked.info)
        near = evoked.copy().pick([name for name in names if name in evoked.ch_names])
        _, moment = near.get_peak(ch_type="mag", tmin=WINDOW[0], tmax=WINDOW[1])
        dipole, _ = mne.fit_dipole(
            near.copy().crop(moment, moment), covariance, str(fit.anatomy.bem), fit.anatomy.trans
        )
        to_mri = np.asarray(fit.anatomy.trans["trans"])
        place = (dipole.pos[0] @ to_mri[:3, :3].T + to_mri[:3, 3]) / fit.anatomy.scale
        distance = float(np.linalg.norm(place - gyrus(side)))
        rows.append((ear(evoked), "dipole", side, distance, float(dipole.gof[0]) / 100))
    return rows


def goodness(evoked: Any, residual: Any, covariance: Any) -> float:
    """Share of the whitened power that is explained in the window."""
    both = [mne.whiten_evoked(one, covariance).crop(*WINDOW).data for one in (evoked, residual)]
    signal, left = (float(np.square(one).sum()) for one in both)
    return 1 - left / signal


def ear(evoked: Any) -> str:
    return str(evoked.comment).split()[0].lower()


def table(rows: list[Row], fit: Fit, evoked: list[Any], operator: Any) -> str:
    lines = [
        f"One person, MEG (306 channels), averages of {evoked[0].nave} (left ear) and {evoked[1].nave} (right ear) trials. "
        f"Template fitted by 3 fiducials and {fit.points} digitised points ({fit.left_out} left out): uniform scale "
        f"{fit.scale:.3f}, root mean square distance {fit.error * 1000:.1f} mm. Distances are from the peak at "
        "75-120 ms to Heschl's gyrus (MNI152 +-43, -21, 8); inverses with loose 0.2, depth 0.8, lambda2 1/9.",
        "",
        "| ear | inverse | left hemisphere, mm | right hemisphere, mm | goodness of fit |",
        "|---|---|---:|---:|---:|",
    ]
    for which in ("left", "right"):
        for method in (*METHODS, "dipole"):
            left, right = (
                next(row for row in rows if row[:3] == (which, method, side)) for side in HEMISPHERES
            )
            fits = f"{left[4]:.0%}" if method != "dipole" else f"{left[4]:.0%}, {right[4]:.0%}"
            lines.append(f"| {which} | {method} | {left[3] * 1000:.0f} | {right[3] * 1000:.0f} | {fits} |")
    patches = [patch(read_areas().area(name), fit.anatomy) for name in AREAS]
    info = evoked[0].info
    talk = cross_talk(patches, info, operator, "dSPM", SNR, fit.anatomy)
    lines += [
        "",
        "Cross-talk of dSPM's areas on this head, relative to the active area's own:",
        "",
        "```",
        str(talk),
        "```",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
