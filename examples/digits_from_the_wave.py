# %% [markdown]
# # Ten digits from the bare wave
#
# AudioNet-V1 hears no spectrogram: 16,000 numbers go in, a digit comes out. An eighth of its width learns the digits of
# synthetic voices. What does such a network rely on? AudioMNIST's experiment asks it directly: set samples to zero, in the
# order of their relevance, by loudness, or by chance, and see how fast it fails.

# %%
import os
import shutil
from pathlib import Path

import heschl
from heschl.steps.manipulate import manipulate
from heschl.tasks.scores import told

STEPS = int(os.environ.get("STEPS", "500"))  # of the optimiser; a test takes 2
VOICES = 12 if STEPS < 20 else None  # None: all of the synthetic voices
OUT = Path(os.environ.get("OUT", "stories/digits-from-the-wave"))

# %%
short = {"train.steps": STEPS, "train.epochs": None, "corpus.voices": VOICES, "machine.workers": 0}
short["train.batch"] = 4 if STEPS < 20 else 32
run = heschl.train("audionet-v1-small", short, runs=OUT / "runs", quiet=True)
scores = heschl.evaluate(run)["scores"]
print(
    f"accuracy {told(scores['accuracy'])} on {scores['n']} clips of {scores['n_groups']} synthetic voices it never heard"
)
print(f"guessing would reach {100 * scores['chance']:.0f} %")

# %% [markdown]
# ## Zero its samples
#
# If relevance is true, taking out what it calls important hurts more than taking out as many samples by chance. Loudest first
# is the honest rival: a network may simply follow what is loud.

# %%
held = manipulate(run, clips=10 if STEPS < 20 else 60)
shutil.copy(Path(held["folder"]) / "manipulate.png", OUT / "zeroed.png")
print("accuracy with some of the samples zeroed, relevance by " + held["relevance_by"])
print("share".ljust(12) + "".join(f"{100 * share:>7g} %" for share in held["fractions"]))
for order, cells in held["zeroing"].items():
    print(order.ljust(12) + "".join(f"{100 * cell['value']:>7.0f} %" for cell in cells))
