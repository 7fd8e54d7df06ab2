# %% [markdown]
# # A recorded brain
#
# Does a brain follow what a layer of the network does? An encoding model predicts a recording from features of the sound that
# was heard, and is scored on stretches that it was not fitted on. A layer must say more than acoustics do, and more than the
# same network untrained. The brain here is simulated, so that the truth is known: channel A follows the sound's envelope,
# channel B what a layer of the trained network does, channel C nothing.

# %%
import os
from pathlib import Path

import numpy as np
import torch

import heschl
from heschl.brain.acoustics import acoustics
from heschl.brain.encode import fit_encoding
from heschl.brain.layers import layer_gain, principal, table
from heschl.figures.style import AREAS, LINE, TEXT, apart, new_figure, styled
from heschl.files import read_audio, write_csv
from heschl.steps.inside import untrained

STEPS = int(os.environ.get("STEPS", "300"))  # of the optimiser; a test takes 2
VOICES = 12 if STEPS < 20 else None  # None: all of the synthetic voices
CLIPS = 40 if STEPS < 20 else 240  # of a second each
OUT = Path(os.environ.get("OUT", "stories/a-recorded-brain"))
RATE, LAG, SNR = 50, 0.12, 0.5  # Hz; seconds by which this brain is late; signal over noise, of power

# %%
short = {"train.steps": STEPS, "train.epochs": None, "corpus.voices": VOICES, "machine.workers": 0}
run = heschl.train("kws-small", short, runs=OUT / "runs", quiet=True)
corpus = run.corpus()
heard = [corpus.by_id[clip] for clip in sorted([*run.split.test, *run.split.validation])[:CLIPS]]
wave = torch.from_numpy(np.concatenate([read_audio(c.signal, c.start, c.stop)[0] for c in heard]))
print(f"the listener hears {len(wave) / 16000:.0f} s of synthetic speech that the network did not learn from")

# %% [markdown]
# ## What the sound and the layers say, at one rate

# %%
sound, names = acoustics(wave, 16000, RATE)
x, n = run.feature()(wave[None]), len(sound)


def late_layer(model):
    """The first components of the layer `late`, (time, component) at the rate of the recording."""
    found = heschl.record(model, x, rate=run.feature().rate)["late"]
    times, values = found.times.numpy(), found.values[0].double().numpy()
    grid = np.arange(n) / RATE
    return principal(np.stack([np.interp(grid, times, unit) for unit in values.T], 1), 6)[0]


trained = late_layer(run.model())
print(f"acoustics: {len(names)} features; the layer: {trained.shape[1]} components; {n} samples at {RATE} Hz")

# %% [markdown]
# ## A simulated listener

# %%
random = np.random.default_rng(0)
shift = round(LAG * RATE)
parts = [np.asarray(sound[:, 0], float), trained[:, 0], np.zeros(n)]
brain = np.zeros((n, 3))
for k, part in enumerate(parts):
    part = np.roll(part, shift)
    part[:shift] = 0
    level = part.std() or 1.0
    brain[:, k] = np.sqrt(SNR) * part / level + random.standard_normal(n)

# %% [markdown]
# ## Fit, and find the lag again

# %%
encoding = fit_encoding(sound[:, :1].double().numpy(), brain, RATE, lags=(0.0, 0.4))
peak = encoding.lags[np.abs(encoding.weights[0, :, 0]).argmax()]
print("r on unseen stretches: " + ", ".join(f"{c} {r:+.2f}" for c, r in zip("ABC", encoding.r)))
with styled():
    figure = new_figure(TEXT, 2.6, "The simulated brain's answer to the envelope: only channel A has one")
    axis = figure.subplots()
    heights = apart(encoding.weights[0, -1, :3].tolist(), 0.12)  # names must not lie on one another
    for k, (name, colour) in enumerate(zip("ABC", AREAS)):
        axis.plot(1000 * encoding.lags, encoding.weights[0, :, k], color=colour)
        axis.annotate(f" {name}", (1000 * encoding.lags[-1], heights[k]), color=colour, va="center")
    axis.axvline(1000 * LAG, color=LINE, zorder=0)
    axis.set_xlabel("lag, ms (the line: the truth)")
    axis.set_ylabel("weight")
    figure.savefig(OUT / "lags.png", dpi=192)
print(f"channel A follows the envelope by {1000 * peak:.0f} ms; the truth is {1000 * LAG:.0f} ms")

# %% [markdown]
# ## Does the layer say more?
#
# Over acoustics, and over nineteen untrained networks. A claim needs both.

# %%
blank = [late_layer(untrained(run, seed)) for seed in range(19)]
gain = layer_gain(
    trained,
    blank,
    sound.double().numpy(),
    brain,
    RATE,
    lags=(0.0, 0.2),
    folds=4,
    shifts=19 if STEPS < 20 else 99,
)
rows = table(gain, ["A", "B", "C"])
write_csv(OUT / "gain.csv", rows, list(rows[0]))
for row in rows:
    claim = "says more" if row["beyond_both"] else "is not shown to say more"
    print(
        f"{row['channel']}: over acoustics {row['over_acoustics']:+.3f} (p {row['p_over_acoustics']:.2f}), "
        f"over untrained {row['over_untrained']:+.3f} (p {row['p_over_untrained']:.3f}): the layer {claim}"
    )
