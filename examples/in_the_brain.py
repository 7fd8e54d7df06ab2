# %% [markdown]
# # Where would it lie in the brain?
#
# The layers of a network are put at areas of the cortex, what they do over time becomes activity there, and a physical model of
# the head says what sensors would see. This is an illustration: a table says which layer stands for which area, and no
# recording was asked. The time axis is network time, where in the sound a layer listens.
#
# Needs the extra: `pip install 'heschl[brain]'`.

# %%
import os
import shutil
from pathlib import Path

import numpy as np

import heschl
from heschl.steps.place import place_run

STEPS = int(os.environ.get("STEPS", "600"))  # of the optimiser; a test takes 2
VOICES = 12 if STEPS < 20 else None  # None: all of the synthetic voices
OUT = Path(os.environ.get("OUT", "stories/in-the-brain"))

# %%
short = {"train.steps": STEPS, "train.epochs": None, "corpus.voices": VOICES, "machine.workers": 0}
run = heschl.train("crnn-small", short, runs=OUT / "runs", quiet=True)
one = heschl.explain(run, run.split.test[0])[0]

# %% [markdown]
# ## Three calls
#
# Record what the layers do, place it on the cortex, and look at it from outside.

# %%
activity = heschl.record(run.model(), one.x[None], rate=one.rate)
placed = heschl.place(activity)
print(f"{placed.values.shape[0]} places, {placed.values.shape[1]} moments, in {placed.unit}: {placed.status}")
evoked = heschl.project(placed, sensors="biosemi64")
strongest = evoked.ch_names[int(np.abs(evoked.data).max(1).argmax())]
print(
    f"{len(evoked.ch_names)} electrodes; the largest potential, {1e6 * np.abs(evoked.data).max():.2f} µV, at {strongest}"
)

# %% [markdown]
# The size follows from one number that is set, the net moment of each area (20 nA m at most), so that only the pattern over
# electrodes and time says something.
#
# ## With pictures

# %%
held = place_run(run, clips=4 if STEPS < 20 else 20)
for path in sorted(Path(held["folder"]).glob("*.png")):
    shutil.copy(path, OUT / path.name)
    print(path.name)
