# %% [markdown]
# # What is inside?
#
# Which layer holds the phone, which the voice? A probe reads a property off a layer's activity, by a ridge regression on
# voices that it was not fitted on. Beside it stand two things without which such a number means nothing: the same network
# untrained, and control labels, drawn by chance: what a probe learns by heart.

# %%
import os
import shutil
from pathlib import Path

import heschl
from heschl.steps.probe import probe
from heschl.tasks.scores import told

STEPS = int(os.environ.get("STEPS", "500"))  # of the optimiser; a test takes 2
VOICES = 14 if STEPS < 20 else None  # None: all of the synthetic voices
OUT = Path(os.environ.get("OUT", "stories/what-is-inside"))

# %%
short = {"train.steps": STEPS, "train.epochs": None, "corpus.voices": VOICES, "machine.workers": 0}
run = heschl.train("kws-small", short, runs=OUT / "runs", quiet=True)
scores = heschl.evaluate(run)["scores"]
print(
    f"thirty words: balanced accuracy {told(scores['balanced_accuracy'])}, guessing {100 * scores['chance']:.1f} %"
)

# %% [markdown]
# ## Read off every layer

# %%
held = probe(run, targets=["phone", "word"], clips=40 if STEPS < 20 else 120)
for row in held["probes"]:
    print(
        f"{row['target']:<6} {row['area']:<6} {told(row['score'])}; untrained {told(row['untrained'])}; chance {100 * row['chance']:.0f} %"
    )
print(f"{held['clips']} clips of {held['speakers']} synthetic voices that the network did not learn from")
for name in ("probes", "similarity"):
    shutil.copy(Path(held["folder"]) / f"{name}.png", OUT / f"{name}.png")
