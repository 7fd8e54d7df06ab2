"""Do two networks rely on the same moments of a clip? Their relevance over time, correlated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from heschl.run import Run
from heschl.steps.explaining import answers_to, read_input
from heschl.steps.inputs import explained
from heschl.steps.methods import Method, method_of, relevance_of
from heschl.steps.networks import Network, open_network
from heschl.tasks.intervals import mean_over
from heschl.types import Clip, HeschlError

BIN = 0.02  # seconds of a clip over which relevance is summed, so that waves and spectrograms can be compared


def explained_alike(
    one: Run, other: Run, clips: Sequence[Clip], method: str, seed: int = 0
) -> dict[str, Any]:
    """How alike the explanations of two networks' own answers are, over the time of each clip.

    Each explains its own answer; |relevance| is summed over everything but time, in bins of `BIN` seconds of the
    clip, and the two curves are correlated by rank (Spearman). ``control`` is the same with the second network's
    curve of the next clip: what the usual place of speech in a clip makes alike by itself.

    Returns
    -------
    method, bin, clips, alike and control: {"value", "low", "high", "n"}, means over clips with the interval over
    speakers (`mean_over`); or why_not, a sentence, where a network cannot be explained so.
    """
    networks = [open_network(run) for run in (one, other)]
    try:
        ways = [method_of(method, folder=run._parts, trusted_only=run._trusted_only) for run in (one, other)]
        curves = [[_curve(network, way, clip) for clip in clips] for network, way in zip(networks, ways)]
    except HeschlError as error:
        return {"method": method, "clips": 0, "why_not": str(error)}
    same, moved = [], []
    for k in range(len(clips)):
        same.append(_rank_correlation(curves[0][k], curves[1][k]))
        moved.append(_rank_correlation(curves[0][k], curves[1][(k + 1) % len(clips)]))
    speakers = [clip.labels.get("speaker") or clip.id for clip in clips]
    return {
        "method": method,
        "bin": BIN,
        "clips": len(clips),
        "n_speakers": len(set(speakers)),
        "alike": mean_over(same, speakers, seed=seed, ends=(-1.0, 1.0)),
        "control": mean_over(moved, speakers, seed=seed, ends=(-1.0, 1.0)),
        "why_not": "",
    }


def _curve(network: Network, method: Method, clip: Clip) -> np.ndarray:
    """(bin,) sum of |relevance| of the network's own answer, over the clip."""
    one = read_input(network, clip)
    target = answers_to(network, one.x[None]).argmax(-1)
    found = relevance_of(explained(network), method, one.x[None], target, one.rate)[0]
    amount = found.abs().double().reshape(-1, found.shape[-1]).sum(0).numpy()
    # each step's amount lies evenly over the step: bins that hold one step more than others would be higher for it
    edges = one.start + (np.arange(len(amount) + 1) - 0.5) / one.rate
    bins = BIN * np.arange(round(edges[-1] / BIN) + 1)
    return np.diff(np.interp(bins, edges, np.concatenate([[0.0], np.cumsum(amount)])))


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's, over the bins that both have; not a number where one of them does not vary."""
    from scipy.stats import rankdata

    n = min(len(x), len(y))
    a, b = rankdata(x[:n]), rankdata(y[:n])
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else float("nan")
