"""Layer-wise relevance propagation for the networks of speech: how much each part of a clip gave to an answer.

Bach et al. 2015 (PLOS ONE 10:e0130140), with the rules of Montavon et al. 2019, the recurrent rules of Arras et
al. 2017 and the attention rules of Ali et al. 2022 (CP-LRP) and Achtibat et al. 2024 (AttnLRP).

The network runs once under a `torch.overrides.TorchFunctionMode` that sees every operation on the way from the
clip to the answer. Each is replaced by the same operation with another backward pass, one that hands down
*relevance* instead of a derivative; so nothing is ever divided by an input that may be zero, and whatever the
network does with its tensors (residuals, branches, views) is followed by autograd. An operation that has no
rule is refused by the name of its module, as soon as relevance arrives at it.

    lrp(model, x, target) -> relevance            lrp_report(model, x, target) -> relevance, layers
"""

from __future__ import annotations

from heschl.explanation.lrp.own import Add
from heschl.explanation.lrp.presets import PRESETS
from heschl.explanation.lrp.relevance import Layer, lrp, lrp_report
from heschl.explanation.lrp.rules import EPSILON, Own, Rule

__all__ = ["EPSILON", "PRESETS", "Add", "Layer", "Own", "Rule", "lrp", "lrp_report"]
