"""Augmentation against loops, numpy, scipy and closed forms; and each clip for itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import signal as scipy_signal
from scipy.stats import beta

from heschl.features import augment
from heschl.features.draws import Draws
from heschl.types import HeschlError

RATE = 8000


def draws(n: int, epoch: int = 0) -> Draws:
    return Draws(3, epoch, torch.arange(n) + 5)


def noise(n: int, steps: int = RATE, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, steps, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.1


def tone(hertz: float, n: int = 1, steps: int = RATE) -> torch.Tensor:
    return torch.sin(2 * torch.pi * hertz * torch.arange(steps, dtype=torch.float64) / RATE).repeat(n, 1)


def decibels(power: torch.Tensor) -> torch.Tensor:
    return 10 * torch.log10(power)


FREQUENCIES = torch.linspace(100, 3900, 20)
RECORDED = [torch.sin(torch.arange(20000) * 0.3), torch.cos(torch.arange(500) * 0.2)]


def background() -> augment.Background:
    made = augment.Background((0, 20), p=0.7)
    made.noise = RECORDED
    return made


ON_WAVES = [
    augment.Shift(0.1, RATE),
    augment.Roll(250),
    augment.Crop(0.1, RATE),
    augment.Trim(RATE, (0.0, 1.0), 0.8),
    augment.Gain((-6, 6)),
    augment.Speed((0.8, 1.25)),
    augment.Noise((5, 40), (0, 2), 0.7),
    background(),
    augment.IntegerNoise(200),
    augment.Tilt(RATE, (-3, 3), 3.0),
]
ON_FEATURES = [
    augment.VocalTract(FREQUENCIES, (0.84, 1.17)),
    augment.Tempo((0.8, 1.25)),
    augment.SpecAugment(5, 10, 2, 2),
]


@pytest.mark.parametrize("one", ON_WAVES + ON_FEATURES, ids=lambda one: type(one).__name__)
def test_a_clip_is_changed_alike_alone_and_in_a_batch(one) -> None:
    x = noise(4, 2000) if one.on == "wave" else noise(80, 100).reshape(4, 20, 100)
    together = one(x, Draws(3, 1, torch.tensor([4, 9, 2, 7])))
    alone = one(x[2:3], Draws(3, 1, torch.tensor([2])))
    torch.testing.assert_close(together[2:3], alone, rtol=0, atol=1e-12)
    other = one(x, Draws(3, 2, torch.tensor([4, 9, 2, 7])))
    assert not torch.equal(together, other), "another epoch changes it otherwise"


@pytest.mark.parametrize("one", ON_WAVES + ON_FEATURES, ids=lambda one: type(one).__name__)
def test_padding_is_not_seen(one) -> None:
    """What lies beyond a clip's end never reaches the clip."""
    if isinstance(one, augment.Tilt | augment.Shift):
        pytest.skip("moves or filters the whole, zeros of the padding included")
    x = noise(4, 2000) if one.on == "wave" else noise(80, 100).reshape(4, 20, 100)
    lengths = torch.tensor([2000, 1500, 900, 2000]) if one.on == "wave" else torch.tensor([100, 80, 60, 100])
    other = x.clone()
    inside = torch.arange(x.shape[-1]) < lengths[:, None]
    other[(~inside if one.on == "wave" else ~inside[:, None].expand_as(x))] = 7.0
    a, b = one(x, draws(4), lengths), one(other, draws(4), lengths)
    valid = inside[:, : a.shape[-1]]
    if isinstance(one, augment.Speed):  # what is slower ends earlier; what is faster hears the end's zeros
        valid = valid & torch.tensor([True, False, False, True])[:, None]
    keep = valid if one.on == "wave" else valid[:, None].expand_as(x)
    torch.testing.assert_close(a[keep], b[keep], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "one",
    [one for one in ON_WAVES if isinstance(one, augment.Shift | augment.Roll | augment.Speed | augment.Trim)],
    ids=lambda one: type(one).__name__,
)
def test_what_moves_stays_within_its_clip(one) -> None:
    """A shorter clip of a padded batch: as alone, and nothing of it comes to lie in the padding."""
    lengths = torch.tensor([2000, 1500, 900, 2000])
    x = noise(4, 2000) * (torch.arange(2000) < lengths[:, None])
    for k, length in enumerate(lengths.tolist()):
        alone = one(x[k : k + 1, :length], draws(4).take(torch.tensor([k])), lengths[k : k + 1])
        together = one(x, draws(4), lengths)[k]
        torch.testing.assert_close(together[:length], alone[0], rtol=0, atol=1e-12)
        assert not together[length:].any()


def test_shift_moves_and_fills_with_zeros() -> None:
    x = noise(50, 1000)
    moved = augment.Shift(0.05, RATE)(x, draws(50))
    by = draws(50).integers("shift", -400, 401).tolist()
    assert min(by) < -200 and max(by) > 200
    for clip, one, move in zip(x.tolist(), moved.tolist(), by):
        assert one == [clip[i - move] if 0 <= i - move < 1000 else 0.0 for i in range(1000)]


def test_audionet_v1_shift_and_noise_are_its_own() -> None:
    x = noise(400, 600)
    rolled = augment.Roll(250)(x, draws(400))
    by = draws(400).integers("roll", -250, 250)
    assert -250 <= int(by.min()) < -230 and 230 < int(by.max()) < 250
    for clip, one, move in zip(x.numpy(), rolled.numpy(), by.tolist()):
        assert np.array_equal(one, np.roll(clip, move))
    added = (augment.IntegerNoise(200)(x, draws(400)) - x) * 32768
    values = added.round()
    assert (added - values).abs().max() < 1e-6
    assert int(values.min()) == -200 and int(values.max()) == 199, "numpy's randint(-200, 200)"
    counts = torch.bincount(values.flatten().long() + 200, minlength=400).double()
    expected = values.numel() / 400
    assert ((counts - expected).square() / expected).sum() < 520, "chi-squared, 399 degrees, 1 in 10,000"


def test_crop_takes_a_stretch_and_keeps_short_clips_whole() -> None:
    x = torch.arange(1.0, 1001.0).repeat(200, 1)
    lengths = torch.tensor([1000, 500, 300, 1000] * 50)
    out = augment.Crop(0.05, RATE)(x, draws(200), lengths)
    assert out.shape == (200, 400)
    starts = out[:, 0]
    for one, length, start in zip(out, lengths.tolist(), starts.tolist()):
        assert torch.equal(one, torch.arange(start, start + 400))
        assert 1 <= start <= max(1, length - 400 + 1)
    assert starts[lengths == 1000].max() > 580 and starts[lengths == 1000].min() < 20
    short = augment.Crop(0.2, RATE)(x, draws(200))
    assert torch.equal(short, torch.cat([x, torch.zeros(200, 600)], 1))


def test_trim_silences_weak_edges_and_centres_the_rest() -> None:
    """A strong vowel between weak sounds: either edge goes where it lies below the clip's own draw."""
    x = tone(400.0, 300, 4000)
    x[:, :800] *= 10 ** (-30 / 20)
    x[:, 2400:3200] *= 10 ** (-20 / 20)
    x[:, 3200:] = 0.0
    out = augment.Trim(RATE, (10.0, 40.0), 0.8)(x, draws(300))
    take, first, last = (
        draws(300).uniform(name, *span)
        for name, span in (("trim", (0.0, 1.0)), ("trim begin", (10.0, 40.0)), ("trim end", (10.0, 40.0)))
    )
    seen = set()
    for one, clip, taken, begin, end in zip(out, x, (take < 0.8).tolist(), first.tolist(), last.tolist()):
        if not taken:
            assert torch.equal(one, clip)
            continue
        if min(abs(begin - 30), abs(end - 20)) < 1:
            continue  # too close to say
        start, stop = (0 if begin > 30 else 800), (3200 if end > 20 else 2400)
        heard = torch.nonzero(one.abs() > 1e-9).flatten()
        left, right = int(heard[0]), 4000 - 1 - int(heard[-1])
        assert abs(left - right) <= 80 * 2, "in the middle"
        assert abs(int(heard[-1]) - left - (stop - start)) <= 4 * 80, "cut to the frame"
        vowel = one[left + 800 - start + 160 :][:1200]
        assert np.corrcoef(vowel, clip[960:2160])[0, 1] ** 2 > 0.1 and vowel.abs().max() > 0.99
        seen.add((start, stop))
    assert len(seen) == 4
    quiet = torch.zeros(2, 4000)
    assert torch.equal(augment.Trim(RATE)(quiet, draws(2)), quiet)


def test_gain_is_in_decibels() -> None:
    x = noise(300)
    change = decibels(augment.Gain((-6, 3))(x, draws(300)).square().mean(1) / x.square().mean(1))
    assert -6 <= change.min() < -5.8 and 2.8 < change.max() <= 3


def test_speed_scales_frequency_about_the_centre() -> None:
    out = augment.Speed((0.8, 1.25))(tone(440, 6), draws(6))
    factors = draws(6).uniform("speed", 0.8, 1.25).double()
    middle, time = (RATE - 1) / 2, torch.arange(RATE)
    for one, factor in zip(out, factors):
        position = middle + (time - middle) * factor
        inside = (position >= 2) & (position <= RATE - 3)
        exact = torch.sin(2 * torch.pi * 440 * position / RATE)
        assert (one - exact)[inside].abs().max() < 6e-3, "cubic interpolation, 18 samples a period"
        assert one[(position < -2) | (position > RATE + 1)].abs().sum() == 0
    same = augment.Speed((1.0, 1.0))(noise(2), draws(2))
    torch.testing.assert_close(same, noise(2), rtol=0, atol=1e-12)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_noise_has_its_colour_and_its_level(exponent: float) -> None:
    x = noise(60, 4000, seed=1)
    lengths = torch.full((60,), 3000)
    x[:, 3000:] = 0
    added = augment.Noise((10, 10), (exponent, exponent), 1.0)(x, draws(60), lengths) - x
    assert added[:, 3000:].abs().sum() == 0, "padding stays silent"
    snr = decibels(x[:, :3000].square().mean(1) / added[:, :3000].square().mean(1))
    torch.testing.assert_close(snr, torch.full_like(snr, 10.0), rtol=0, atol=1e-6)
    hertz, power = scipy_signal.welch(added[:, :3000].numpy(), RATE, nperseg=1024)
    band = (hertz > 100) & (hertz < 3500)
    slope = np.polyfit(np.log(hertz[band]), np.log(power.mean(0)[band]), 1)[0]
    assert abs(slope + exponent) < 0.12


def test_a_share_of_the_clips_gets_noise() -> None:
    x = noise(2000, 16)
    changed = (augment.Noise((10, 20), p=0.3)(x, draws(2000)) != x).any(1).double().mean()
    assert abs(changed - 0.3) < 0.04


def test_background_is_a_stretch_of_a_recording() -> None:
    one = background()
    one.p = 1.0
    x = noise(40, 1000)
    added = one(x, draws(40)) - x
    snr = decibels(x.square().mean(1) / added.square().mean(1))
    assert snr.min() >= 0 and snr.max() <= 20.0001
    for row in added.numpy():
        fits = [
            np.abs(np.correlate(source, row, "valid")).max() / np.linalg.norm(row)
            for source in (RECORDED[0].numpy(), np.tile(RECORDED[1].numpy(), 3))
        ]
        assert max(fits) / np.sqrt(500) > 0.98, "a sinusoid of that recording"
    with pytest.raises(HeschlError, match="no recordings of noise"):
        augment.Background()(x, draws(40))


def test_tilt_has_the_gain_that_it_says() -> None:
    one = augment.Tilt(RATE, (2.0, 2.0), 0.0)
    for hertz, gain in ((500, -2.0), (1000, 0.0), (2000, 2.0)):
        x = tone(hertz)
        assert abs(float(decibels(one(x, draws(1)).square().mean() / x.square().mean())) - gain) < 1e-9
    curved = augment.Tilt(RATE, (-3, 3), 4.0)
    hertz = torch.tensor([250.0, 4000.0])
    gain = curved.decibels(hertz, draws(5))
    x = tone(250, 5)
    heard = decibels(curved(x, draws(5)).square().mean(1) / x.square().mean(1))
    torch.testing.assert_close(heard, gain[:, 0].double(), rtol=0, atol=1e-4)
    assert heard.std() > 1


def test_vocal_tract_is_linear_interpolation_over_hertz() -> None:
    x = noise(60, 30).reshape(3, 20, 30)
    out = augment.VocalTract(FREQUENCIES, (0.8, 1.25))(x, draws(3))
    factors = draws(3).uniform("vocal tract", 0.8, 1.25)
    hertz = FREQUENCIES.double().numpy()
    for clip, one, factor in zip(x.numpy(), out.numpy(), factors.double().numpy()):
        for step in range(30):
            expected = np.interp(hertz * factor, hertz, clip[:, step])
            assert np.abs(one[:, step] - expected).max() < 1e-5


def test_tempo_is_linear_interpolation_over_frames() -> None:
    x = noise(60, 30).reshape(3, 20, 30)
    lengths = torch.tensor([30, 21, 12])
    out = augment.Tempo((0.7, 1.4))(x, draws(3), lengths)
    factors = draws(3).uniform("tempo", 0.7, 1.4).double().numpy()
    for clip, one, factor, length in zip(x.numpy(), out.numpy(), factors, lengths.tolist()):
        middle = (length - 1) / 2
        place = middle + (np.arange(length) - middle) * factor
        for row in range(20):
            expected = np.interp(place, np.arange(length), clip[row, :length])
            assert np.abs(one[row, :length] - expected).max() < 1e-5


def test_specaugment_hides_bands_and_stretches_behind_the_mean() -> None:
    x = noise(200 * 20, 100).reshape(200, 20, 100)
    lengths = torch.full((200,), 60)
    out = augment.SpecAugment(frequency=4, time=10, bands=1, stretches=1)(x, draws(200), lengths)
    widths = set()
    for clip, one in zip(x, out):
        hidden = clip != one
        assert torch.unique(one[hidden]).numel() <= 1
        if hidden.any():
            assert abs(float(one[hidden][0] - clip[:, :60].mean())) < 1e-12
        bins, steps = hidden.all(1), hidden.all(0)
        assert torch.equal(hidden, bins[:, None] | steps[None])
        assert not steps[60:].any()
        assert int(bins.sum()) <= 4 and int(steps.sum()) <= 10
        assert int(bins.diff().count_nonzero()) <= 2, "one band"
        widths.add(int(bins.sum()))
    assert widths == {0, 1, 2, 3, 4}
    assert torch.equal(augment.SpecAugment(bands=0, stretches=0)(x, draws(200)), x)


def test_mixup_mixes_sounds_and_labels_alike() -> None:
    n = 2000
    x, y = noise(n, 6), torch.nn.functional.one_hot(torch.arange(n) % 5, 5).double()
    a, b = augment.Mixup(0.4)(x, y, draws(n))
    partner = draws(n).permutation("mixup partner")
    moved = (x[partner] - x).square().sum(1) > 1e-9
    share = ((a - x[partner]) * (x - x[partner])).sum(1)[moved] / (x - x[partner]).square().sum(1)[moved]
    assert share.min() >= 0.5 - 1e-6 and share.max() <= 1 + 1e-6
    expected = share[:, None] * y[moved] + (1 - share[:, None]) * y[partner][moved]
    torch.testing.assert_close(b[moved], expected, rtol=0, atol=1e-6)
    larger = beta(0.4, 0.4).rvs(200_000, random_state=1)
    larger = np.maximum(larger, 1 - larger)
    assert abs(float(share.mean()) - larger.mean()) < 0.01 and abs(float(share.std()) - larger.std()) < 0.01
    rare, _ = augment.Mixup(0.4, p=0.25)(x, y, draws(n))
    assert abs(float(((rare != x).any(1)).double().mean()) - 0.25) < 0.05


def test_mixstyle_gives_a_clip_another_ones_long_term_spectrum() -> None:
    n = 300
    level = torch.linspace(-3, 3, n, dtype=torch.float64)[:, None, None]
    x = noise(n * 4, 50).reshape(n, 4, 50) * (1 + level.abs()) + level
    y = torch.eye(n, dtype=torch.float64)
    out, same = augment.MixStyle(0.4, p=0.6)(x, y, draws(n))
    assert torch.equal(same, y), "labels stay"
    changed = ((out - x).abs() > 1e-9).flatten(1).any(1)
    assert abs(float(changed.double().mean()) - 0.6) < 0.1
    partner = draws(n).permutation("style partner")
    mean, spread = x.mean(-1), x.std(-1) + 1e-3
    share = ((out.mean(-1) - mean[partner]) * (mean - mean[partner])).sum(1) / (
        mean - mean[partner]
    ).square().sum(1)
    for k in torch.nonzero(changed).flatten().tolist():
        for row in range(4):
            expected = share[k] * mean[k, row] + (1 - share[k]) * mean[partner[k], row]
            assert abs(float(out[k, row].mean() - expected)) < 1e-6
            wide = (share[k] * spread[k, row] + (1 - share[k]) * spread[partner[k], row]) / spread[k, row]
            assert abs(float(out[k, row].std() / x[k, row].std() / wide) - 1) < 1e-6
            course = np.corrcoef(out[k, row].numpy(), x[k, row].numpy())[0, 1]
            assert course > 1 - 1e-9, "the course over time stays the clip's own"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: augment.Speed((0.0, 1.0)), "augment.Speed: factor is .* two positive numbers"),
        (lambda: augment.Gain((3, -3)), "augment.Gain: decibels .* the smaller first"),
        (lambda: augment.Noise((10,)), "augment.Noise: snr"),
    ],
)
def test_ranges_are_checked(make, said: str) -> None:
    with pytest.raises(HeschlError, match=said):
        make()
