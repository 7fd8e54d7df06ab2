# %% [markdown]
# # Thirty words, and three areas
#
# The network of Grinwald (2018) hears a spectrogram through one convolution and two recurrent layers, which its author
# named after three areas: the superior temporal gyrus (STG), TP, which he does not spell out and is taken for the temporal
# pole here, and the inferior frontal gyrus (IFG).
# The names are an idea, not a measurement. Here it learns thirty words of the synthetic speech that comes with heschl; on
# Speech Commands the same story is the recipe `words-crnn`.

# %%
import os
import shutil
from pathlib import Path

import heschl
from heschl.tasks.scores import told

STEPS = int(os.environ.get("STEPS", "900"))  # of the optimiser; a test takes 2
VOICES = 12 if STEPS < 20 else None  # None: all of the synthetic voices
OUT = Path(os.environ.get("OUT", "stories/words-crnn"))

# %% [markdown]
# ## Train
#
# A recipe becomes a run folder. Run this cell again and it says that it is finished; kill it, and it goes on.

# %%
short = {"train.steps": STEPS, "train.epochs": None, "corpus.voices": VOICES, "machine.workers": 0}
run = heschl.train("crnn-small", short, runs=OUT / "runs", quiet=True)
parts = {part: len(getattr(run.split, part)) for part in ("train", "validation", "test")}
print(
    f"{run.name}: {parts['train']} clips to learn from, {parts['test']} to be asked about; no voice is in both"
)

# %% [markdown]
# ## How good is it?
#
# Asked about voices that it has never heard, with the interval over voices. The voices are synthetic, and they resemble each
# other: real speakers are harder.

# %%
held = heschl.evaluate(run)
scores = held["scores"]
print(f"balanced accuracy {told(scores['balanced_accuracy'])}, {scores['n_groups']} synthetic voices")
print(f"guessing would reach {100 * scores['chance']:.1f} %")
shutil.copy(Path(held["folder"]) / "confusion.png", OUT / "confusion.png")
for row in held["confusions"][:3]:
    print(f"  “{row['said']}” was taken for “{row['answered']}” {row['n']} times")

# %% [markdown]
# ## What does each layer do?
#
# `heschl.record` gives what every named area of a network does, with true times: the middle of what each step hears. This is
# network time, where in the sound a step listens, and no latency of a brain.

# %%
one = heschl.explain(run, run.split.test[0])[0]
activity = heschl.record(run.model(), one.x[None], rate=one.rate)
for area, found in activity.items():
    size = found.values[0].square().mean(-1).sqrt()
    busiest = found.times[int(size.argmax())]
    print(
        f"{area:<4} {found.values.shape[-1]:>4} units, {len(found.times)} steps; most active at {busiest:.2f} s"
    )
