"""Context windows against a loop; they never cross utterances and never copy."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heschl.features import context
from heschl.features.context import Context, context_windows, gather_windows
from heschl.features.spectrogram import LogMel
from heschl.types import HeschlError

few = settings(max_examples=40, deadline=None)


def by_loop(frames, reach):
    """(time, feature) -> (time, 2 * reach + 1, feature)"""
    windows = np.zeros((len(frames), 2 * reach + 1, frames.shape[1]))
    for t in range(len(frames)):
        for j in range(-reach, reach + 1):
            if 0 <= t + j < len(frames):
                windows[t, j + reach] = frames[t + j]
    return windows


def test_examples_in_docstrings():
    assert doctest.testmod(context).failed == 0


@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 15), st.integers(0, 99))
@few
def test_windows_are_what_a_loop_gives_in_numpy_and_torch(time, feature, reach, seed):
    frames = np.random.default_rng(seed).standard_normal((3, time, feature))
    ours = context_windows(frames, reach)
    assert ours.shape == (3, time, 2 * reach + 1, feature)
    for one, utterance in zip(ours, frames):
        assert np.array_equal(one, by_loop(utterance, reach))
    assert np.array_equal(context_windows(torch.from_numpy(frames), reach), ours)


def test_windows_are_views():
    frames = np.ones((1000, 40), dtype=np.float32)
    windows = context_windows(frames, 25)
    assert windows.base is not None and windows.strides[0] == windows.strides[1] == frames.strides[0]
    torchs = context_windows(torch.ones(1000, 40), 25)
    assert torchs.untyped_storage().nbytes() == 1050 * 40 * 4


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 6), st.integers(0, 99))
@few
def test_gathered_windows_never_cross_utterances(lengths, reach, seed):
    rng = np.random.default_rng(seed)
    utterances = [rng.standard_normal((length, 2)) for length in lengths]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    every = np.concatenate([by_loop(utterance, reach) for utterance in utterances])
    indices = rng.permutation(offsets[-1])[:7]
    assert np.array_equal(gather_windows(np.concatenate(utterances), offsets, indices, reach), every[indices])


def test_gathering_leaves_the_frames_alone_and_refuses_what_is_not_there():
    frames = np.ones((5, 2))
    gather_windows(frames, np.array([0, 2, 5]), np.arange(5), 3)
    assert (frames == 1).all()
    for index in (5, -1):
        with pytest.raises(HeschlError, match="there are 5"):
            gather_windows(frames, np.array([0, 2, 5]), np.array([index]))


@pytest.mark.parametrize("normalise", ["none", "mean"])
def test_context_gives_each_frame_its_window_and_keeps_clips_apart(normalise):
    rng = np.random.default_rng(0)
    waves = torch.from_numpy(rng.standard_normal((3, 16000))) * torch.tensor([[1.0], [0.01], [0.1]])
    lengths = torch.tensor([16000, 9000, 5333])
    padded = torch.where(torch.arange(16000) < lengths[:, None], waves, 0.0)
    feature = Context(context=25, normalise=normalise)
    together = feature(padded, lengths)
    assert together.shape == (3, 51, 40, 101) and feature.per_frame and feature.rate == 100
    for i, length in enumerate(lengths.tolist()):
        alone = feature(waves[i : i + 1, :length])[0]
        steps = feature.steps(length)
        assert alone.shape == (51, 40, steps)
        assert torch.allclose(together[i, :, :, :steps], alone)
        frames = LogMel(normalise=normalise)(waves[i : i + 1, :length])[0].T.numpy()
        assert np.allclose(alone.permute(2, 0, 1), by_loop(frames, 25))
    wave = padded.float().requires_grad_()
    feature(wave).square().sum().backward()
    assert torch.isfinite(wave.grad).all() and (wave.grad.abs().sum(1) > 0).all()
    assert torch.equal(feature.frequencies, LogMel().frequencies)


def test_a_negative_context_is_refused():
    with pytest.raises(HeschlError, match="neighbours"):
        context_windows(np.ones((3, 2)), -1)
    with pytest.raises(HeschlError, match="zero or more"):
        Context(context=-1)
