"""Whole networks and front ends by explicit messages: their weights are read, everything else is numpy's own.

As in `lrp_oracle`, nothing here imports heschl. Each function gives (y, back) for one clip x.
"""

from __future__ import annotations

import lrp_oracle as oracle
import numpy as np


def stab(z):
    return np.where(z >= 0, z + oracle.EPS, z - oracle.EPS)


def both(front, network):
    """A front end, and a network that hears what it shows: f(x) -> (y, back)."""

    def whole(x):
        shown, back_front = front(x)
        y, back = network(shown)
        return y, lambda r: back_front(back(r))

    return whole


def cut(whole, n):
    """The same of the first n steps of x (..., time) alone: padding hears and gets nothing."""

    def one(x):
        y, back = whole(x[..., :n])
        frames = y.ndim == 2
        wide = np.pad(y, ((0, x.shape[-1] - n), (0, 0))) if frames else y

        def spread(r):
            given = back(r[:n] if frames else r)
            return np.pad(given, [(0, 0)] * (x.ndim - 1) + [(0, x.shape[-1] - n)])

        return wide, spread

    return one


def relevance(whole, x, target, start="logit"):
    """target: a class, or one for every frame of logits (time, class), -100 where nothing is explained."""
    y, back = whole(x)
    r = np.zeros_like(y)
    for place, one in [((), target)] if np.ndim(target) == 0 else [((t,), c) for t, c in enumerate(target)]:
        if one >= 0:
            r[(*place, one)] = 1.0 if start == "one" else y[(*place, one)]
    return back(r)


def rules(preset):
    """(rule of the first convolution, rule of the others)."""
    chosen = oracle.PRESETS[preset]
    return chosen.get("first", chosen["convolution"]), chosen["convolution"]


def box(x):
    return np.full_like(x, x.min()), np.full_like(x, x.max())


def shares(terms, whole, r):
    """What each term of a sum gets of the relevance of the sum."""
    return [term / stab(whole) * r for term in terms]


# ---- CRNN


def crnn(model, preset):
    """x (frequency, time) -> logits."""
    w, b = oracle.numpy(model.conv.weight), oracle.numpy(model.conv.bias)
    first, _ = rules(preset)

    def whole(x):
        time = x.shape[1]
        spectra = x.T if model.sweep == "time" else x.reshape(time, -1)  # read row by row, as published
        low, high = x.min(), x.max()  # the clip's, not the spectrum's
        heard, backs = [], []
        for spectrum in spectra:
            y, back = oracle.conv(spectrum[None], w, b, (1,), (0,), (1,), 1)
            heard.append(np.maximum(y, 0).reshape(-1))
            backs.append((back, y.shape))
        a, back_1 = oracle.recurrent(model.lstm_1, np.array(heard))
        c, back_2 = oracle.recurrent(model.lstm_2, a)
        z, back_fc = oracle.layer(model.fc1, c[-1])
        back_top = None
        if model.fc2 is not None:
            z, back_top = oracle.layer(model.fc2, np.maximum(z, 0))

        def back(r):
            r = back_fc(r if back_top is None else back_top(r))
            states = np.zeros_like(c)
            states[-1] = r
            given = np.zeros_like(spectra)
            for t, on_step in enumerate(back_1(back_2(states))):
                one, shape = backs[t]
                ends = np.full((1, len(spectra[t])), low), np.full((1, len(spectra[t])), high)
                given[t] = one(on_step.reshape(shape), first, *ends)[0]
            return given.T if model.sweep == "time" else given.reshape(x.shape)

        return z, back

    return whole


# ---- FrameLSTM


def frame_lstm(model, preset):
    """x (mel, time) -> logits (time, class), the mean of the branches'."""

    def whole(x):
        parts = [branch(one, preset)(x) for one in model.branches]
        y = sum(z for z, _ in parts) / len(parts)

        def back(r):
            each = shares([z / len(parts) for z, _ in parts], y, r)
            return sum(back_one(on) for (_, back_one), on in zip(parts, each))

        return y, back

    return whole


def branch(model, preset):
    first, rest = rules(preset)

    def whole(x):
        time = x.shape[1]
        way = []

        def then(step, *options):
            y, back = step
            way.append((back, options))
            return y

        def convolve(x, conv, norm, rule):
            y = then(oracle.layer(conv, x, norm), rule, *(box(x) if rule == "zbox" else ()))
            return then((np.maximum(y, 0), lambda r: r))

        y = then(oracle.layer(model.stem.norm, x[None]))
        y = convolve(y, model.stem.conv1, model.stem.norm1, first)
        y = convolve(y, model.stem.conv2, model.stem.norm2, rest)
        wide = y.shape
        y = then((y.reshape(-1, time), lambda r: r.reshape(wide)))
        y = convolve(y, model.pair, model.norm, rest)
        for conv, norm in zip(model.context.convs, model.context.norms):
            y = then(residual(y, conv, norm, rest))
        y = then((y.T, lambda r: r.T))
        for lstm in (model.lstm_1, model.lstm_2):
            y = then(oracle.recurrent(lstm, y))
        y = then(oracle.layer(model.output, y))
        folded = y.shape
        y = y.reshape(-1, model.n_outputs)

        def back(r):
            all_frames = np.zeros_like(y)
            all_frames[:time] = r
            r = all_frames.reshape(folded)
            for one, options in reversed(way):
                r = one(r, *options)
            return r[0]

        return y[:time], back

    return whole


def residual(x, conv, norm, rule):
    """x + relu(norm(conv(x)))"""
    z, back_conv = oracle.layer(conv, x, norm)
    bent = np.maximum(z, 0)
    y = x + bent
    ends = box(x) if rule == "zbox" else ()

    def back(r):
        on_x, on_bent = shares([x, bent], y, r)
        return on_x + back_conv(on_bent, rule, *ends)

    return y, back


# ---- front ends: waves (time,) to pictures


def spectrum(x, window, hop, n_fft=None):
    """x (time,) -> re, im (frequency, frame), frame by frame, and back(on_re, on_im); the window lies in the frame's middle."""
    n = n_fft or len(window)
    before = (n - len(window)) // 2
    places = before + np.arange(len(window))
    phase = 2 * np.pi * np.outer(np.arange(n // 2 + 1), places) / n
    taps = np.cos(phase) * window, -np.sin(phase) * window
    count = (len(x) - n) // hop + 1
    at = [t * hop + places for t in range(count)]
    re, im = (np.stack([tap @ x[a] for a in at], 1) for tap in taps)

    def back(on_re, on_im):
        given = np.zeros_like(x)
        for t, a in enumerate(at):
            for tap, value, on in ((taps[0], re, on_re), (taps[1], im, on_im)):
                messages = x[a] * tap / stab(value[:, t, None]) * on[:, t, None]  # (frequency, sample)
                given[a] += messages.sum(0)
        return given

    return re, im, back


def power(re, im):
    """re^2 + im^2, and back(r) -> relevance of re and im."""
    y = re**2 + im**2
    return y, lambda r: shares([re**2, im**2], y, r)


def middle(x, reach):
    """x (time,) with zeros at both ends, and back."""
    return np.pad(x, reach), lambda r: r[reach : len(r) - reach]


def hann(n):
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)


def slaney(rate, n_fft, n_mels):
    """Triangles of unit area, evenly spaced on Slaney's scale: 200/3 Hz a mel to 1 kHz, then 27 mel to each factor of 6.4."""

    def hertz(mel):
        return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((np.maximum(mel, 15) - 15) / 27))

    top = rate / 2
    highest = top * 3 / 200 if top < 1000 else 15 + 27 * np.log(top / 1000) / np.log(6.4)
    corners = hertz(np.linspace(0, highest, n_mels + 2))
    bank = np.zeros((n_mels, n_fft // 2 + 1))
    for m, (low, peak, high) in enumerate(zip(corners, corners[1:], corners[2:])):
        for k in range(bank.shape[1]):
            f = k * rate / n_fft
            up, down = (f - low) / (peak - low), (high - f) / (high - peak)
            bank[m, k] = max(0.0, min(up, down)) * 2 / (high - low)
    return bank


def log_mel(rate, n_mels, length, hop, n_fft, floor, normalise, valid=None):
    """x (time,) -> (mel, frame); valid: the clip's own frames."""
    bank = slaney(rate, n_fft, n_mels)

    def whole(x):
        wide, back_wide = middle(x, n_fft // 2)
        re, im, back_re_im = spectrum(wide, hann(length), hop, n_fft)
        p, back_p = power(re, im)
        columns, back_bank = oracle.dense(p.T, bank, np.zeros(n_mels))
        z = columns.T + floor
        y, back_norm = normalised(np.log(z), normalise, floor, valid)

        def back(r):
            on_log = back_norm(r)
            (on_mel,) = shares([columns.T], z, on_log)  # the floor is a bias; the logarithm hands on
            return back_wide(back_re_im(*back_p(back_bank(on_mel.T).T)))

        return y, back

    return whole


def normalised(x, how, floor, valid):
    """x (mel, frame), its own mean (and deviation) taken off over the first `valid` frames."""
    frames = x.shape[1]
    inside = np.arange(frames) < (frames if valid is None else valid)
    if how == "none":
        return x, lambda r: r
    share = inside.astype(float)
    if how in ("energy", "level"):
        share *= np.sqrt(np.maximum(np.exp(x).sum(0) - floor * len(x), 0) + floor)
    share /= share.sum()
    terms = x * share
    rows = terms.sum(1, keepdims=True)
    mean = rows.mean() * np.ones((1, 1)) if how in ("level", "standard") else rows
    apart = x - mean
    y = apart
    if how in ("mean_variance", "standard"):
        variance = (apart**2 * share).sum(1, keepdims=True)
        variance = variance.mean() if how == "standard" else variance
        y = apart / np.sqrt(variance + 1e-5)  # a constant: the numerator takes all

    def back(r):
        r = r * inside
        on_x, on_mean = shares([x, -mean], apart, r)
        on_rows = on_mean.sum(1, keepdims=True)
        if mean.size == 1:
            (on_rows,) = shares([rows / len(x)], mean, on_rows.sum())
        (on_terms,) = shares([terms], rows, on_rows)
        return on_x + on_terms * (share != 0)

    return y * inside, back


def htk(rate, n_fft, n_mels, f_min):
    """Triangles of height one, evenly spaced on HTK's scale, 2595 log10(1 + f / 700), up to half the rate."""
    ends = 2595 * np.log10(1 + np.array([f_min, rate / 2]) / 700)
    corners = 700 * (10 ** (np.linspace(*ends, n_mels + 2) / 2595) - 1)
    f = np.arange(n_fft // 2 + 1) * rate / n_fft
    bank = []
    for low, peak, high in zip(corners, corners[1:], corners[2:]):
        bank.append(np.maximum(0, np.minimum((f - low) / (peak - low), (high - f) / (high - peak))))
    return np.array(bank)


def wavegrad():
    """x (time,) -> (128, frame): mirrored at its ends, magnitudes, mel, decibels, from -100 to 0 as 0 to 1."""
    window, n_fft, hop, reach = hann(1200), 2048, 300, 1024
    bank = htk(22050, n_fft, 128, 20.0)

    def whole(x):
        last = len(x) - 1
        source = np.abs(np.arange(-reach, len(x) + reach))
        source = np.where(source > last, 2 * last - source, source)
        cut_off = np.clip(x, -1, 1)
        re, im, back_re_im = spectrum(cut_off[source], window / np.sqrt((window**2).sum()), hop, n_fft)
        p, back_p = power(re, im)
        columns, back_bank = oracle.dense(np.sqrt(p).T, bank, np.zeros(len(bank)))
        decibels = 20 * np.log10(np.maximum(columns.T, 1e-5))
        lower = decibels - 20
        raised = lower + 100
        y = np.clip(raised / 100, 0, 1)

        def back(r):
            (on_lower,) = shares(
                [lower], raised, r
            )  # both shifts are biases; cuts, scales and logarithms hand on
            (on_decibels,) = shares([decibels], lower, on_lower)
            wide = back_re_im(
                *back_p(back_bank(on_decibels.T).T)
            )  # a magnitude's parts share by their squares
            given = np.zeros_like(x)
            np.add.at(given, source, wide)  # a sample that is heard twice gets both
            return given

        return y, back

    return whole


def audiomnist(scale, unit):
    """x (8000,) -> (1, 227, 227)."""
    length, hop = 455, 35

    def whole(x):
        loud = np.pad(x * scale, (0, hop))
        wide, back_wide = middle(loud, length // 2)
        window = hann(length)
        re, im, back_re_im = spectrum(wide, window, hop)
        shape = re.shape
        assert shape == (228, 230)
        seen = (slice(0, 227), slice(2, 229))
        re, im = re[seen] / window.sum(), im[seen] / window.sum()
        p, back_p = power(re, im)
        level = 10 * np.log10(np.maximum(p, 1e-10))
        top = np.unravel_index(p.argmax(), p.shape)
        below = level - level[top]
        floor = below.max() - 80
        cut = np.maximum(below, floor)
        y = (cut + 80) / 80 if unit else cut

        def back(r):
            r = r[0]
            if unit:
                (r,) = shares([cut], cut + 80, r)
            heard = below >= floor
            on_below = r * heard
            first = np.unravel_index(below.argmax(), below.shape)
            on_below[first] += below[first] / stab(floor) * (r * ~heard).sum()
            on_level, on_top = shares([level, -level[top]], below, on_below)
            on_level[top] += on_top.sum()
            on_re, on_im = np.zeros((2, *shape))
            on_re[seen], on_im[seen] = back_p(on_level)
            # relevance of re / sum is relevance of re under epsilon, re / sum / stab(re / sum), part by part
            on_re[seen] *= re / stab(re)
            on_im[seen] *= im / stab(im)
            return back_wide(back_re_im(on_re, on_im))[: len(x)]

        return y[None], back

    return whole


def tukey(n, taper=0.25):
    out = np.ones(n)
    slope = taper * n / 2
    for k in range(n):
        edge = min(k, n - k)
        if edge < slope:
            out[k] = 0.5 - 0.5 * np.cos(np.pi * edge / slope)
    return out


def log_spectrogram(rate, scale, standardise):
    """The CRNN's: x (time,) -> (129, frame)."""
    length, hop = 256, 224
    window = tukey(length)
    phase = 2 * np.pi * np.outer(np.arange(length // 2 + 1), np.arange(length)) / length
    taps = np.cos(phase), -np.sin(phase)
    sides = np.full(length // 2 + 1, 2.0)
    sides[[0, -1]] = 1
    density = np.sqrt(sides / (rate * (window**2).sum()))

    def whole(x):
        columns, kept = [], []
        for begin in range(0, len(x) - length + 1, hop):
            piece = x[begin : begin + length] * scale
            still = piece - piece.mean()
            raw = [tap @ (still * window) for tap in taps]
            p, back_p = power(*(part * density for part in raw))
            columns.append(np.where(p > 0, p, 1.0))
            kept.append((begin, piece, still, raw, p, back_p))
        level = 10 * np.log10(np.stack(columns, 1))
        mean = level.mean()
        apart = level - mean
        y = apart / np.sqrt((apart**2).mean() + 1e-8) if standardise else level

        def back(r):
            if standardise:
                on_level, on_mean = shares([level, np.full_like(level, -mean)], apart, r)
                (more,) = shares([level], level.sum(), on_mean.sum())
                r = on_level + more
            given = np.zeros_like(x)
            for t, (begin, piece, still, raw, p, back_p) in enumerate(kept):
                on_windowed = np.zeros(length)
                for tap, part, on in zip(taps, raw, back_p(r[:, t] * (p > 0))):
                    on = part * density / stab(part * density) * on
                    on_windowed += (still * window * tap / stab(part[:, None]) * on[:, None]).sum(0)
                on_still = on_windowed * (window != 0)
                on_piece, on_mean = shares([piece, np.full(length, -piece.mean())], still, on_still)
                (more,) = shares([piece / length], piece.mean(), on_mean.sum())
                given[begin : begin + length] += on_piece + more
            return given

        return y, back

    return whole
