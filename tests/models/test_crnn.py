from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from heschl.files import read_weights
from heschl.models.crnn import CRNN
from heschl.types import HeschlError


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lstm(steps: list[np.ndarray], state: dict[str, np.ndarray], name: str) -> list[np.ndarray]:
    """An LSTM step by step from its definition (Hochreiter and Schmidhuber 1997, with torch's gate order)."""
    w, r = state[f"{name}.weight_ih_l0"], state[f"{name}.weight_hh_l0"]
    b = state[f"{name}.bias_ih_l0"] + state[f"{name}.bias_hh_l0"]
    hidden = r.shape[1]
    h, c, out = np.zeros(hidden), np.zeros(hidden), []
    for x in steps:
        i, f, g, o = np.split(w @ x + r @ h + b, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return out


def by_hand(x: np.ndarray, state: dict[str, np.ndarray], sweep: str) -> tuple[list[np.ndarray], ...]:
    """One clip x (frequency, time) through the network, in loops: STG, TP, IFG and logits."""
    frequencies, times = x.shape
    weight, bias = state["conv.weight"], state["conv.bias"]
    stg, flat = [], []
    for t in range(times):
        if sweep == "time":
            vector = [x[f, t] for f in range(frequencies)]
        else:  # consecutive values, row by row, whatever row they are in
            places = [t * frequencies + k for k in range(frequencies)]
            vector = [x[place // times, place % times] for place in places]
        heard = np.array(
            [
                [
                    max(0.0, bias[c] + sum(weight[c, 0, k] * vector[f + k] for k in range(weight.shape[2])))
                    for f in range(frequencies - weight.shape[2] + 1)
                ]
                for c in range(len(bias))
            ]
        )
        stg.append(heard.mean(0))
        flat.append(heard.reshape(-1))
    tp = lstm(flat, state, "lstm_1")
    ifg = lstm(tp, state, "lstm_2")
    logits = state["fc1.weight"] @ ifg[-1] + state["fc1.bias"]
    if "fc2.weight" in state:
        logits = state["fc2.weight"] @ np.maximum(logits, 0) + state["fc2.bias"]
    return stg, tp, ifg, [logits]


def recorded(model: CRNN, x: torch.Tensor) -> dict[str, torch.Tensor]:
    kept: dict[str, torch.Tensor] = {}

    def keep(area):
        return lambda _module, _inputs, out: kept.update({area: out[0] if isinstance(out, tuple) else out})

    handles = [
        model.get_submodule(path).register_forward_hook(keep(area)) for area, path in model.areas.items()
    ]
    kept["logits"] = model(x)
    for handle in handles:
        handle.remove()
    return kept


@pytest.mark.parametrize("sweep", ["time", "frequency"])
@pytest.mark.parametrize("fc1", [None, 3])
def test_equals_loops_written_from_its_definition(sweep: str, fc1: int | None) -> None:
    torch.manual_seed(1)
    model = CRNN((7, 5), 4, 6, 3, fc1=fc1, channels=2, kernel=3, sweep=sweep).double()
    x = torch.randn(2, 7, 5, dtype=torch.float64)
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    out = recorded(model, x)
    for clip in range(2):
        stg, tp, ifg, (logits,) = by_hand(x[clip].numpy(), state, sweep)
        np.testing.assert_allclose(out["STG"][clip].detach(), stg, atol=1e-12)
        np.testing.assert_allclose(out["TP"][clip].detach(), tp, atol=1e-12)
        np.testing.assert_allclose(out["IFG"][clip].detach(), ifg, atol=1e-12)
        np.testing.assert_allclose(out["logits"][clip].detach(), logits, atol=1e-12)


@pytest.mark.parametrize(
    ("hidden", "fc1", "parameters"),
    [(128, None, 387_008), (128, 50, 391_040), (64, None, 144_384), (64, 50, 147_200)],
)
def test_published_sizes_and_checkpoints(
    hidden: int, fc1: int | None, parameters: int, tmp_path: Path
) -> None:
    model = CRNN((129, 71), 31, hidden, hidden, fc1=fc1, sweep="frequency")
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    # A file with the keys and shapes of the published ones, written from their list rather than from the model.
    shapes: dict[str, tuple[int, ...]] = {"conv.weight": (3, 1, 10), "conv.bias": (3,)}
    for name, size in (("lstm_1", 360), ("lstm_2", hidden)):
        shapes |= {f"{name}.weight_ih_l0": (4 * hidden, size), f"{name}.weight_hh_l0": (4 * hidden, hidden)}
        shapes |= {f"{name}.bias_ih_l0": (4 * hidden,), f"{name}.bias_hh_l0": (4 * hidden,)}
    shapes |= {"fc1.weight": (fc1 or 31, hidden), "fc1.bias": (fc1 or 31,)}
    if fc1:
        shapes |= {"fc2.weight": (31, fc1), "fc2.bias": (31,)}
    generator = torch.Generator().manual_seed(0)
    state = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    torch.save(state, tmp_path / "best_model.pt")
    model.load_state_dict(read_weights(tmp_path / "best_model.pt"), strict=True)
    assert torch.equal(model.lstm_2.weight_hh_l0, state["lstm_2.weight_hh_l0"])
    out = recorded(model, torch.randn(2, 129, 71, generator=generator))
    assert {area: tuple(value.shape) for area, value in out.items()} == {
        "STG": (2, 71, 120),
        "TP": (2, 71, hidden),
        "IFG": (2, 71, hidden),
        "logits": (2, 31),
    }


def test_the_time_layout_hears_time_and_the_original_does_not() -> None:
    """A sound in one frame: STG tells it at that step alone; the published layout tells it at 71 others."""
    x = torch.zeros(2, 129, 71)
    x[1, :, 40] = 5.0
    for sweep, steps in (("time", [40]), ("frequency", list(range(71)))):
        torch.manual_seed(0)
        stg = recorded(CRNN((129, 71), 31, sweep=sweep), x)["STG"]
        changed = (stg[1] - stg[0]).abs().amax(-1).nonzero().flatten().tolist()
        assert changed == steps
    # The original's first chunk runs from (frequency 0, time 0) to (frequency 1, time 57).
    numbered = torch.arange(129 * 71).reshape(1, 129, 71)
    last = int(numbered.reshape(71, 129)[0, -1])
    assert divmod(last, 71) == (1, 57)


def test_padding_after_a_clip_changes_nothing() -> None:
    torch.manual_seed(0)
    model = CRNN((12, 9), 3, 5, 4, kernel=4).double()
    short = torch.randn(1, 12, 6, dtype=torch.float64)
    padded = torch.cat([short, torch.randn(1, 12, 3, dtype=torch.float64)], -1)
    both = torch.cat([padded, torch.randn(1, 12, 9, dtype=torch.float64)])
    torch.testing.assert_close(model(both, torch.tensor([6, 9]))[:1], model(short), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "x", "lengths", "word"),
    [
        ({}, (2, 128, 71), None, r"takes \(batch, 129, time\)"),
        ({}, (2, 1, 129, 71), None, "was given"),
        ({}, (2, 129, 71), [3], "lengths"),
        ({}, (2, 129, 71), [0, 71], "lengths"),
        ({"sweep": "frequency"}, (2, 129, 70), None, r"\(batch, 129, 71\)"),
        ({"sweep": "frequency"}, (2, 129, 71), [70, 71], "one length"),
    ],
)
def test_refuses_in_one_sentence(make: dict, x: tuple, lengths: list[int] | None, word: str) -> None:
    model = CRNN((129, 71), 31, 4, 4, **make)
    with pytest.raises(HeschlError, match=word):
        model(torch.zeros(x), None if lengths is None else torch.tensor(lengths))


def test_refuses_what_it_cannot_be() -> None:
    with pytest.raises(HeschlError, match="kernel spans 10 frequencies"):
        CRNN((8, 71), 31)
    with pytest.raises(HeschlError, match="'time' or 'frequency'"):
        CRNN((129, 71), 31, sweep="diagonal")  # type: ignore[arg-type]
    with pytest.raises(HeschlError, match=r"\(frequency, time\)"):
        CRNN((1, 129, 71), 31)  # type: ignore[arg-type]
