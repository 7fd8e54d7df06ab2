# %% [markdown]
# # Ten digits through AlexNet
#
# Becker and colleagues (AudioMNIST, 2018) taught an AlexNet the ten digits from spectrograms, and looked at what it relied on
# by layer-wise relevance propagation. Here a quarter of its width learns the digits of synthetic voices, with AudioMNIST's
# own spectrogram; on AudioMNIST the same story is the recipe `digits-alexnet`.

# %%
import os
import shutil
from pathlib import Path

import heschl
from heschl.steps.explain import explain_run
from heschl.tasks.scores import told

STEPS = int(os.environ.get("STEPS", "240"))  # of the optimiser; a test takes 2
VOICES = 12 if STEPS < 20 else None  # None: all of the synthetic voices
OUT = Path(os.environ.get("OUT", "stories/digits-alexnet"))

# %%
short = {"train.steps": STEPS, "train.epochs": None, "corpus.voices": VOICES, "machine.workers": 0}
short["train.batch"] = 4 if STEPS < 20 else 32
run = heschl.train("alexnet-small", short, runs=OUT / "runs", quiet=True)
print(f"it hears {run.in_shape} and has {sum(p.numel() for p in run.model().parameters()):,} parameters")

# %% [markdown]
# ## How good is it?

# %%
held = heschl.evaluate(run)
scores = held["scores"]
print(
    f"accuracy {told(scores['accuracy'])} on {scores['n']} clips of {scores['n_groups']} synthetic voices it never heard"
)
print(f"guessing would reach {100 * scores['chance']:.0f} %")
for row in held["confusions"][:3]:
    print(f"  “{row['said']}” was taken for “{row['answered']}” {row['n']} times")

# %% [markdown]
# ## What did it rely on?
#
# The paper's rule for convolutional networks: positive contributions in convolutions, epsilon in what comes after. Warm
# colours spoke for the answer, cool ones against it; the grey below is the sound.

# %%
clip = run.split.test[0]
shown = explain_run(run, clips=[clip], method="lrp", preset="epsilon_plus", sound=False)
shutil.copy(
    Path(shown["folder"]) / "clips" / clip.replace("/", "~") / "figure-column.png", OUT / "relevance.png"
)
for row in sorted(shown["summary"], key=lambda row: -row["relevance"])[:4]:
    print(
        f"{row['kind']} {row['name']}: {100 * row['relevance']:.0f} % of what speaks for it, {100 * row['area']:.0f} % of the picture"
    )
