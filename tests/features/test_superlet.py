from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import fftconvolve

from heschl.features._superlet_finer import finer, ratio
from heschl.features._superlet_kernels import deviation, reference_kernel, wavelets
from heschl.features.superlet import SILENT, Superlet, edge_mask, reach, superlet
from heschl.types import HeschlError

TWO_PI = 2 * math.pi


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sine(freq: float, rate: float, samples: int, amplitude: float = 1.0, phase: float = 0.0) -> torch.Tensor:
    return amplitude * torch.cos(TWO_PI * freq * torch.arange(samples, dtype=torch.float64) / rate + phase)


def gaussian_kernel(freq: float, cycles: float, rate: float) -> np.ndarray:
    """The definition, in time, as long as it matters."""
    sd = deviation(freq, cycles)
    half = math.ceil(9 * sd * rate)
    t = np.arange(-half, half + 1) / rate
    shape = np.exp(-(t**2) / (2 * sd**2))
    return shape / shape.sum() * np.exp(2j * np.pi * freq * t)


def plainly(x: np.ndarray, rate: float, freqs: Any, kernel: Any, **options: Any) -> np.ndarray:
    """Products of powers of explicit convolutions, sample by sample."""
    rows = []
    for one in wavelets(list(freqs), **options):
        power = np.ones(len(x))
        for cycles, weight in zip(one.cycles, one.weights, strict=True):
            shape = kernel(one.freq, cycles, rate)
            whole = np.convolve(x, shape)[len(shape) // 2 :][: len(x)]
            power = power * (2 * np.abs(whole) ** 2) ** weight
        rows.append(power)
    return np.stack(rows)


# --- against the published arrays ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["sine40", "bursts", *(pytest.param(name, marks=pytest.mark.slow) for name in ("chirp", "wide_orders"))],
)
def test_the_published_arrays(shared: Path, name: str) -> None:
    arrays = np.load(shared / "reference" / "superlet.npz")
    rate, cycles, first, last = (float(value) for value in arrays[f"{name}/params"])
    x, freqs, power = (arrays[f"{name}/{key}"] for key in ("x", "freqs", "power"))
    for kernel, dtype, tolerance in (
        ("reference", torch.float64, 1e-6),
        ("reference", torch.float32, 1e-3),
        ("gaussian", torch.float64, 0.02),
        ("gaussian", torch.float32, 0.02),
    ):
        found = superlet(torch.as_tensor(x, dtype=dtype), rate, freqs, cycles, (first, last), kernel=kernel)
        assert found.dtype == dtype
        assert np.abs(found.numpy() - power).max() <= tolerance * power.max()


def test_values_that_the_published_code_printed() -> None:
    x = torch.sin(TWO_PI * 40 * torch.arange(2000, dtype=torch.float64) / 1000)
    freqs = [20, 30, 40, 50, 60]
    for order, values in {
        1: (1e-6, 0.103794, 0.500479, 0.285126, 0.104122),
        5: (0, 2.1e-5, 0.500023, 0.001163, 2.2e-5),
        (1, 5): (1e-6, 0.009816, 0.500095, 0.007642, 2.2e-5),
        2.5: (0, 0.001137, 0.500045, 0.057730, 0.001316),
    }.items():
        found = superlet(x, 1000, freqs, 3, order, kernel="reference")[:, 1000]
        assert np.allclose(found, values, atol=1.5e-6), order


# --- against the definition ------------------------------------------------------------------------------


def test_cycles_and_weights_by_hand() -> None:
    (one,) = wavelets([10.0], 3, 3.5)
    assert one.cycles == (3, 6, 9, 12) and np.allclose(one.weights, [1 / 3.5, 1 / 3.5, 1 / 3.5, 0.5 / 3.5])
    (two,) = wavelets([10.0], 3, 3, "additive")
    assert two.cycles == (3, 4, 5) and np.allclose(two.weights, 1 / 3)
    rows = wavelets([10.0, 20.0, 50.0], 1, (1, 5))
    assert [len(row.cycles) for row in rows] == [1, 3, 5]
    rows = wavelets([10.0, 20.0, 50.0], 1, (1, 5), order_axis="frequency")
    assert [len(row.cycles) for row in rows] == [1, 2, 5]


@pytest.mark.parametrize("kernel", ["gaussian", "reference"])
@pytest.mark.parametrize("kind", ["multiplicative", "additive"])
@pytest.mark.parametrize("order", [1, 2.5, (1, 4), (3.7, 1.2)])
def test_explicit_convolution(kernel: Any, kind: Any, order: Any) -> None:
    x, rate, freqs = noise(300), 128.0, [6.0, 11.0, 40.0, 60.0]
    in_time = gaussian_kernel if kernel == "gaussian" else reference_kernel
    for axis in ("index", "frequency"):
        options: dict[str, Any] = {"base_cycles": 2.5, "order": order, "kind": kind, "order_axis": axis}
        expected = plainly(x.numpy(), rate, freqs, in_time, **options)
        found = superlet(x, rate, freqs, kernel=kernel, **options).numpy()
        assert np.abs(found / expected - 1).max() < 1e-6


def test_wavelets_wider_than_the_band_are_folded_as_sampling_folds_them() -> None:
    x, rate, freqs = noise(200), 100.0, [30.0, 50.0]
    expected = plainly(x.numpy(), rate, freqs, gaussian_kernel, base_cycles=0.7, order=2)
    found = superlet(x, rate, freqs, 0.7, 2).numpy()
    assert np.abs(found - expected).max() < 1e-9 * expected.max()


def test_mne_morlet_with_its_phase() -> None:
    mne = pytest.importorskip("mne")
    x, rate, freqs, cycles = noise(1, 600), 200.0, [8.0, 20.0, 45.0], 4.0
    kernels = mne.time_frequency.morlet(rate, freqs, n_cycles=TWO_PI / 5 * cycles, zero_mean=False)
    found = superlet(x, rate, freqs, cycles, 1, output="complex")
    for row, kernel in enumerate(kernels):
        theirs = np.convolve(x[0].numpy(), kernel / np.abs(kernel).sum(), "same")
        mine = (found.power[0, row] / 2).sqrt() * found.phase[0, row]
        assert (
            np.abs(mine.numpy() - theirs).max() < 4e-6 * np.abs(theirs).max()
        )  # theirs is cut at five deviations


@pytest.mark.parametrize("order", [1, 3.5, 30])
@pytest.mark.parametrize("unit", [1.0, 5e-5, 2e-13])
def test_a_tone_gives_half_its_squared_amplitude_and_its_phase(order: float, unit: float) -> None:
    rate, samples = 500.0, 4000
    x = sine(40, rate, samples, 3 * unit, phase=0.7)
    found = superlet(x, rate, [40.0], 3, order, output="complex")
    middle = slice(1500, 2500)
    assert torch.allclose(found.power[0, middle] / unit**2, torch.tensor(4.5, dtype=torch.float64), rtol=1e-6)
    angle = TWO_PI * 40 * torch.arange(samples, dtype=torch.float64) / rate + 0.7
    expected = torch.polar(torch.ones_like(angle), angle)
    assert (found.phase[0, middle] - expected[middle]).abs().max() < 1e-5
    assert found.resultant[0, middle].min() > 1 - 1e-8 and found.resultant.max() <= 1
    assert torch.allclose(found.phase.abs(), torch.ones(1, samples, dtype=torch.float64))


def test_inter_trial_coherence_by_the_phase() -> None:
    """Of n unit phasors: 1 where trials are locked to 12 Hz, sqrt(pi / 4 n) on average where they are not."""
    rate, trials = 200.0, 60
    locked = sine(12, rate, 600)[None] + 0.1 * noise(trials, 600)
    phase = superlet(locked, rate, [12.0, 80.0], 4, (2, 3), output="complex").phase
    coherence = phase.mean(0).abs()[:, 150:450]
    assert coherence[0].min() > 0.99
    assert abs(float(coherence[1].mean()) - math.sqrt(math.pi / 4 / trials)) < 0.05
    turned = torch.stack([sine(12, rate, 600, phase=TWO_PI * k / trials) for k in range(trials)])
    phase = superlet(turned, rate, [12.0], 3, 3, output="complex").phase
    assert phase.mean(0).abs()[:, 150:450].max() < 1e-6  # phases all round the circle cancel


def test_the_resultant_is_the_weighted_mean_of_phasors() -> None:
    x, rate = noise(400), 128.0
    (one,) = wavelets([15.0], 3, 2.5)
    mean = np.zeros(400, dtype=complex)
    for cycles, weight in zip(one.cycles, one.weights, strict=True):
        kernel = gaussian_kernel(15.0, cycles, rate)
        whole = np.convolve(x.numpy(), kernel)[len(kernel) // 2 :][:400]
        mean += weight * whole / np.abs(whole)
    found = superlet(x, rate, [15.0], 3, 2.5, output="complex")
    assert np.abs(found.resultant[0].numpy() - np.abs(mean)).max() < 1e-6
    assert np.abs((found.resultant * found.phase)[0].numpy() - mean).max() < 1e-6


# --- shapes, units, types --------------------------------------------------------------------------------


@given(
    samples=st.integers(1, 300),
    decim=st.integers(1, 40),
    order=st.floats(1, 6),
    kernel=st.sampled_from(["gaussian", "reference"]),
)
@settings(max_examples=25, deadline=None)
def test_decimation_is_exact(samples: int, decim: int, order: float, kernel: Any) -> None:
    x, freqs = noise(2, samples), [5.0, 33.0, 50.0]
    whole = superlet(x, 100, freqs, 2, (1, order), kernel=kernel, output="complex")
    less = superlet(x, 100, freqs, 2, (1, order), kernel=kernel, decim=decim, output="complex")
    assert less.power.shape == (2, 3, -(-samples // decim))
    power = whole.power[..., ::decim]
    assert torch.allclose(less.power, power, rtol=1e-5, atol=1e-10 * float(whole.power.max()))
    clear = power > 1e-8 * power.max()
    mean, other = whole.resultant * whole.phase, less.resultant * less.phase
    assert (mean[..., ::decim] - other)[clear].abs().max() < 1e-3


def test_leading_dimensions_and_neighbours() -> None:
    x = noise(2, 3, 4, 100)
    x[1, 1] *= 1e6  # a loud one beside
    x[0, 2, 1] = 0
    found = superlet(x, 100, [10.0, 20.0], order=2)
    assert found.shape == (2, 3, 4, 2, 100)
    for index in np.ndindex(2, 3, 4):
        assert torch.allclose(found[index], superlet(x[index], 100, [10.0, 20.0], order=2), rtol=1e-9)
    assert superlet(x[0, 0, 0].numpy(), 100, np.array([10.0]), order=2).shape == (1, 100)
    assert superlet(list(range(50)), 100, 10.0).shape == (1, 50)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("unit", [1.0, 1e-5, 1e-13])
def test_volts_and_tesla_give_no_zeros(unit: float, dtype: torch.dtype) -> None:
    x = noise(2, 512)
    freqs = np.linspace(2, 150, 30)
    expected = superlet(x, 512, freqs, output="log-power") + 2 * math.log(unit)
    small = (x * unit).to(dtype)
    power = superlet(small, 512, freqs)
    assert bool((power > 0).all())
    assert torch.allclose(power.double().log(), expected, atol=2e-2)
    assert torch.allclose(superlet(small, 512, freqs, output="log-power").double(), expected, atol=2e-2)


def test_silence() -> None:
    x = noise(3, 200)
    x[1] = 0
    x.requires_grad_()
    found = superlet(x, 100, [10.0, 30.0], output="complex")
    assert not found.power[1].any() and bool((found.power[[0, 2]] > 0).all())
    assert not found.resultant[1].any() and bool((found.phase[1] == 1).all())
    logs = superlet(x, 100, [10.0, 30.0], output="log-power")
    assert bool((logs[1] == SILENT).all())
    (gradient,) = torch.autograd.grad(logs.sum(), x)
    assert bool(gradient.isfinite().all()) and bool(gradient[0].any()) and not gradient[1].any()


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["gaussian", "reference"])
@pytest.mark.parametrize("output", ["power", "log-power"])
def test_gradient(kernel: Any, output: Any) -> None:
    x = noise(2, 40).requires_grad_()

    def work(x: torch.Tensor) -> torch.Tensor:
        return superlet(x, 50, [4.0, 11.0, 20.0], 2, (1, 3.5), kernel=kernel, decim=3, output=output)

    assert torch.autograd.gradcheck(work, (x,), eps=1e-6, atol=1e-5)
    with torch.no_grad():  # the two ways of computing give one result
        assert torch.allclose(work(x), work(x.detach().clone()))
    assert torch.allclose(work(x).detach(), work(x.detach()))


def test_gradient_of_the_phase_is_finite() -> None:
    x = noise(1, 60).requires_grad_()
    found = superlet(x, 50, [4.0, 11.0], 2, 2, output="complex")
    (gradient,) = torch.autograd.grad(found.phase.real.sum() + found.resultant.sum(), x)
    assert bool(gradient.isfinite().all()) and bool(gradient.any())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_gpu() -> None:
    x = noise(3, 500)
    for kernel in ("gaussian", "reference"):
        here = superlet(x, 200, [10.0, 60.0], kernel=kernel)
        assert torch.allclose(superlet(x.cuda(), 200, [10.0, 60.0], kernel=kernel).cpu(), here, rtol=1e-6)


@pytest.mark.parametrize("times", [4, 16])
def test_a_narrow_band_is_interpolated_to_rounding(times: int) -> None:
    points, steps, tail = 128, 128 * times - 5, 6.0
    offsets = torch.arange(-32, 33)
    shape = torch.exp(-0.5 * (tail * offsets / 32).square()).double()
    bins = torch.complex(noise(2, 3, 65), noise(2, 3, 65, seed=1)) * shape
    few = torch.zeros(2, 3, points, dtype=bins.dtype).index_copy(2, offsets % points, bins)
    many = torch.zeros(2, 3, points * times, dtype=bins.dtype).index_copy(2, offsets % (points * times), bins)
    right = torch.fft.ifft(many, norm="forward")[..., :steps]

    def room(name: str, shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
        return like.new_empty(shape)

    found = finer(torch.fft.ifft(few, norm="forward"), times, steps, tail, room)[..., :steps]
    assert (torch.complex(found[0], found[1]) - right).abs().max() < 5e-8 * right.abs().max()
    assert ratio(64, points * times) == times and ratio(65, points * times) < times


def test_single_precision_is_double_to_rounding() -> None:
    """Wide bands by transforms, narrow ones interpolated, powers multiplied before logarithms: all orders, all rates."""
    x, freqs = noise(2, 3000).float(), np.linspace(2, 150, 12)
    expected = superlet(x.double(), 512, freqs)
    peak = float(expected.max())
    for decim in (1, 3):
        found = superlet(x, 512, freqs, decim=decim).double()
        assert (found - expected[..., ::decim]).abs().max() < 5e-6 * peak
        assert (found / expected[..., ::decim] - 1).abs().median() < 2e-6
    before = torch.get_float32_matmul_precision()
    try:  # matrix products that are coarse by the user's wish are not used
        torch.set_float32_matmul_precision("medium")
        assert (superlet(x, 512, freqs) - expected).abs().max() < 5e-6 * peak
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_product_of_powers_does_not_underflow() -> None:
    x = noise(1, 4000)
    x[:, 300:] *= 1e-8  # powers of 1e-16 beside those of a loud start
    found = superlet(x, 512, [60.0, 100.0], 3, (1, 12))
    expected = superlet(x[:, 2000:], 512, [60.0, 100.0], 3, (1, 12))
    assert torch.allclose(found[..., 3000:3500], expected[..., 1000:1500], rtol=1e-4)


# --- edges -----------------------------------------------------------------------------------------------


def test_the_edge_mask_is_where_data_alone_is_seen() -> None:
    """Inside the mask, whatever stands beyond the ends changes power by less than what three deviations leave."""
    rate, freqs = 100.0, [4.0, 10.0, 30.0]
    x, beyond = noise(400), noise(1200, seed=1)
    longer = beyond.clone()
    longer[400:800] = x
    options: dict[str, Any] = {"base_cycles": 3, "order": (1, 4)}
    mask = edge_mask(400, rate, freqs, **options)
    alone, beside = superlet(x, rate, freqs, **options), superlet(longer, rate, freqs, **options)[:, 400:800]
    moved = (alone - beside).abs() / alone.mean(1, keepdim=True)
    assert moved[mask].max() < 0.05 < moved[~mask].max()
    for row, half in enumerate(reach(freqs, **options)):
        seen = torch.nonzero(mask[row])[:, 0]
        assert seen[0] == math.ceil(float(half) * rate) and seen[-1] == 399 - seen[0]
    assert torch.equal(edge_mask(400, rate, freqs, decim=7, **options), mask[:, ::7])
    assert not edge_mask(10, rate, freqs, **options).any()
    assert math.isclose(float(reach([10.0], 5, 2)[0]), 3 * 10 / 50)


def test_one_sample_and_one_order() -> None:
    (single,) = superlet(torch.tensor([2.0]), 100, [10.0], 3, (1, 3))[0]
    assert single > 0
    for order in (3, (3,), [3, 3], torch.tensor(3.0), np.float32(3)):
        assert torch.equal(
            superlet(noise(50), 100, [10.0], 3, order), superlet(noise(50), 100, [10.0], 3, (3, 3))
        )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"freqs": [10.0, 60.0]}, "60 Hz cannot be seen at 100"),
        ({"freqs": [0.0]}, "0 Hz"),
        ({"freqs": []}, "freqs is empty"),
        ({"rate": 0.0}, "rate is 0"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"order": 0.5}, "order is 0.5"),
        ({"order": (1, 2, 3)}, "order is"),
        ({"base_cycles": 0}, "base_cycles is 0"),
        ({"kind": "geometric"}, "kind is 'geometric'"),
        ({"order_axis": "time"}, "order_axis"),
        ({"kernel": "morlet"}, "kernel is 'morlet'"),
        ({"output": "phase"}, "output is 'phase'"),
        ({"decim": 0}, "decim is 0"),
        ({"decim": 1.5}, "decim is 1.5"),
        ({"x": torch.tensor([[1.0, float("nan")], [1.0, 2.0]])}, "1 of 2 channels"),
        ({"x": torch.zeros(3, 0)}, "at least one sample"),
        ({"x": torch.zeros(4, dtype=torch.complex64)}, "complex"),
        ({"x": "a wave"}, "x is str: give an array"),
        ({"x": None}, "x is NoneType"),
        ({"rate": "fast"}, "rate is 'fast': give numbers"),
        ({"rate": None}, "rate is None"),
        ({"freqs": "low"}, "freqs is 'low'"),
        ({"freqs": [[10.0], [20.0, 30.0]]}, "freqs is"),
        ({"order": "all"}, "order is 'all'"),
        ({"order": None}, "order is None"),
        ({"base_cycles": "3"}, "base_cycles is '3'"),
        ({"base_cycles": (3, 4)}, "base_cycles is .* give one number"),
        ({"decim": "2"}, "decim is '2'"),
        ({"decim": None}, "decim is None"),
        ({"decim": True}, "decim is True"),
    ],
)
def test_refusals(change: dict[str, Any], said: str) -> None:
    arguments: dict[str, Any] = {"x": torch.ones(20), "rate": 100.0, "freqs": [10.0], **change}
    with pytest.raises(HeschlError, match=said) as told:
        superlet(**arguments)
    assert "\n" not in str(told.value)


# --- the module ------------------------------------------------------------------------------------------


def test_the_module_is_the_function() -> None:
    part = Superlet(128, 4.0, 60.0, 8, order=(1, 5), decim=4)
    x = noise(2, 3, 200)
    expected = superlet(x, 128, np.linspace(4, 60, 8), 3, (1, 5), decim=4, output="log-power")
    assert torch.equal(part(x), expected)
    assert part.rate == 32 and part.steps(200) == 50 == expected.shape[-1]
    assert torch.equal(pickle.loads(pickle.dumps(part))(x), expected)
    with pytest.raises(HeschlError, match="cannot be seen"):
        Superlet(128, 4.0, 100.0)
    with pytest.raises(HeschlError, match="choose power or log-power"):
        Superlet(output="complex")  # type: ignore[arg-type]
    with pytest.raises(HeschlError, match="in order"):
        Superlet(low=50.0, high=20.0)


def test_the_bench_compares_with_the_published_algorithm(shared: Path) -> None:
    """The plain algorithm that the bench runs against is the published one."""
    arrays = np.load(shared / "reference" / "superlet.npz")
    x, freqs = arrays["sine40/x"], arrays["sine40/freqs"]
    one = wavelets(list(freqs), 3, (1, 5))[2]
    power = np.ones(len(x))
    for cycles, weight in zip(one.cycles, one.weights, strict=True):
        power *= (2 * np.abs(fftconvolve(x, reference_kernel(40.0, cycles, 1000.0), "same")) ** 2) ** weight
    assert np.abs(power - arrays["sine40/power"][2]).max() < 1e-6 * power.max()
