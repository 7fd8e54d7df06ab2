"""Which operation is handled by what. All others are refused when relevance arrives at them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from heschl.explanation.lrp import attention, layers, moves, norms, pointwise, recurrent
from heschl.explanation.lrp.maps import CONVOLUTIONS, TRANSPOSED

_LINEAR = (
    "mean sum avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d "
    "interpolate upsample cumsum diff fold mv tensordot stft istft fft_fft fft_ifft fft_rfft fft_irfft trace conj"
)

HANDLERS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(moves.MOVES, moves.move),
    **dict.fromkeys(("max", "min", "amax", "amin", "maximum", "minimum"), moves.pick),
    **dict.fromkeys(pointwise.ACTIVATIONS, pointwise.pass_on),
    **dict.fromkeys(_LINEAR.split(), layers.fixed),
    **dict.fromkeys((*CONVOLUTIONS, *TRANSPOSED), layers.conv),
    "linear": layers.linear,
    **dict.fromkeys(("matmul", "rmatmul", "mm", "bmm"), layers.matmul),
    "addmm": layers.addmm,
    "einsum": layers.fixed,
    "batch_norm": norms.batch_norm,
    "layer_norm": norms.layer_norm,
    "group_norm": norms.group_norm,
    "instance_norm": norms.instance_norm,
    **dict.fromkeys(("var", "std"), norms.variance),
    **dict.fromkeys(("var_mean", "std_mean"), norms.with_mean),
    "abs": pointwise.magnitude,
    **dict.fromkeys(("add", "sub", "rsub"), pointwise.add),
    "mul": pointwise.multiply,
    "div": pointwise.divide,
    "rdiv": pointwise.divide,
    "pow": pointwise.power,
    **dict.fromkeys(("rsqrt", "reciprocal"), pointwise.inverse),
    "glu": pointwise.glu,
    **dict.fromkeys(
        ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"),
        pointwise.dropout,
    ),
    **dict.fromkeys(("softmax", "log_softmax"), pointwise.softmax),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), recurrent.recurrent),
    **dict.fromkeys(("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), recurrent.cell),
    "multi_head_attention_forward": attention.multi_head,
    "scaled_dot_product_attention": attention.scaled_dot_product,
}
