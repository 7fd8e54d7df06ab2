# %% [markdown]
# # What did it rely on, and can I hear it?
#
# A network says “right”. Which part of the sound made it say so? Relevance tells for every moment and frequency what spoke
# for the answer and what against it. Laid over the sound itself, it becomes a sound: what the network relied on, and the
# rest. And whatever is cut out is given back to the network, so that you see whether the explanation holds.

# %%
import os
import shutil
from pathlib import Path

import heschl
from heschl.files import read_json
from heschl.steps.explain import compare, explain_run

STEPS = int(os.environ.get("STEPS", "500"))  # of the optimiser; a test takes 2
VOICES = 12 if STEPS < 20 else None  # None: all of the synthetic voices
OUT = Path(os.environ.get("OUT", "stories/explain-and-hear"))

# %%
short = {"train.steps": STEPS, "train.epochs": None, "corpus.voices": VOICES, "machine.workers": 0}
run = heschl.train("kws-small", short, runs=OUT / "runs", quiet=True)
clips = [clip for clip in run.split.test if clip.endswith(("/right", "/stop"))][: 1 if STEPS < 20 else 2]

# %% [markdown]
# ## Relevance, as numbers
#
# One explanation a clip: its relevance has the shape of what the network hears, (mel, frame). Methods are named:
# `lrp:epsilon_plus`, `gradient_x_input`, `occlusion_time`, ...

# %%
for one in heschl.explain(run, clips, method="lrp:epsilon_plus"):
    r, when = one.relevance, one.relevance.clamp(min=0).sum(0)
    print(f"{one.clip}: the answer is “{one.target}”; {tuple(r.shape)} cells")
    print(f"  for it {r.clamp(min=0).sum():+.2f}, against it {r.clamp(max=0).sum():+.2f}")
    print(f"  most of it at {int(when.argmax()) / one.rate:.2f} s of the network's input")

# %% [markdown]
# ## Relevance, to look at and to play
#
# `explain_run` writes a folder for each clip: the picture, and four sounds, level-matched. Beside each sound stands how sure
# the network is of the same answer when it hears that sound alone.

# %%
held = explain_run(run, clips=clips)
folder = Path(held["folder"]) / "clips" / clips[0].replace("/", "~")
shutil.copy(folder / "figure-column.png", OUT / "explanation.png")
for sound in read_json(folder / "answer.json")["sounds"].values():
    sure = "silence" if sound["silent"] else f"{100 * sound['probability']:.0f} % sure"
    print(f"{sound['words']:<20} {sound['file']:<16} {sure}, its own answer: “{sound['answered']}”")

# %% [markdown]
# ## Do other methods say the same?
#
# Two honest methods may disagree: they ask different questions. What counts is the test that follows in the story *Is it
# true?*

# %%
compared = compare(run, ["lrp", "gradient_x_input", "occlusion_time"], clips=clips)
for row in compared["agreement"]:
    print(f"{row['method']} and {row['other']}: rank correlation {row['rank_correlation']:+.2f}")
