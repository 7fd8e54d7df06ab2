# %% [markdown]
# # Is it true?
#
# A picture of relevance looks convincing whether it is true or not. Two tests. One needs no truth: take out of the sound what
# the explanation calls important, and see whether the network fails sooner than by chance, or than by taking the loudest
# first. The other knows the truth: a corpus in which every digit is given away by a planted tone. A network learns to cheat,
# and a method that is worth anything must point at the tone.

# %%
import os
import shutil
from pathlib import Path

import numpy as np

import heschl
from heschl.corpora import shortcut
from heschl.signal import hz_to_mel, mel_to_hz
from heschl.steps.faithful import faithful
from heschl.tasks.scores import told

STEPS = int(os.environ.get("STEPS", "500"))  # of the optimiser; a test takes 2
VOICES = 12 if STEPS < 20 else None  # None: all of the synthetic voices
OUT = Path(os.environ.get("OUT", "stories/is-it-true"))

# %% [markdown]
# ## A network that cheats

# %%
recipe = {
    "format": 1,
    "name": "cheat",
    "corpus": {"use": "shortcut", "voices": VOICES},
    "split": {"use": "fractions", "validation": 0.15, "test": 0.2, "label": "digit"},
    "clip": {"seconds": 1.0, "long": "centre", "short": "centre"},
    "feature": {"use": "spectrogram.LogMel", "n_mels": 40, "floor": 1.0},
    "model": {"use": "kws.KWS", "width": 32, "depth": 2},
    "task": {"use": "classify.Classify", "label": "digit"},
    "train": {"steps": STEPS, "batch": 32, "optimiser": {"use": "AdamW", "lr": 0.003}},
    "machine": {"workers": 0},
}
run = heschl.train(recipe, runs=OUT / "runs", quiet=True)
scores = heschl.evaluate(run)["scores"]
print(
    f"with the tones: accuracy {told(scores['accuracy'])}, {scores['n_groups']} synthetic voices; guessing: 10 %"
)

# %%
twin = shortcut.read(tone=False, voices=VOICES)
asked = [twin.by_id[clip] for clip in run.split.test]
right = [
    one.target == clip.labels["digit"] for clip, one in zip(asked, heschl.explain(run, asked, "gradient"))
]
print(f"the same clips without the tones: {100 * np.mean(right):.0f} % of {len(right)} clips right")

# %% [markdown]
# ## Which methods point at the tone?
#
# The share of positive relevance that lies in the tone's cells, over clips of the test part that the network gets right;
# beside it, the share of the picture that those cells take up: what pointing at random would give. The network's input is
# log(1 + power), so that silence is zero, from which every method counts. In a plain logarithm silence is the number farthest
# from zero, and LRP and gradient x input then point at it: `bench/shortcut.py` has the shares.

# %%
corpus, feature = run.corpus(), run.feature()
clips = [corpus.by_id[clip] for clip in run.split.test[: 8 if STEPS < 20 else 60]]
edges = mel_to_hz(np.linspace(0, hz_to_mel(feature.sample_rate / 2), 40 + 2))
window = feature.window_length / feature.sample_rate
for method in ("lrp:epsilon_plus", "gradient_x_input", "integrated_gradients", "occlusion_time"):
    shares, areas = [], []
    for clip, one in zip(clips, heschl.explain(run, clips, method)):
        times = np.arange(one.x.shape[-1]) / one.rate
        tone = shortcut.cells(clip, times, edges[:-2], edges[2:], window)
        positive = one.relevance.clamp(min=0).numpy()
        if one.target == clip.labels["digit"] and positive.any():
            shares.append(positive[tone].sum() / positive.sum())
            areas.append(tone.mean())
    if shares:
        print(
            f"{method:<22} {100 * np.mean(shares):>3.0f} % in {100 * np.mean(areas):.1f} % of the picture, {len(shares)} clips"
        )

# %% [markdown]
# `occlusion_time` hides whole moments and cannot tell frequencies apart: within a moment it points at what is loud.
#
# ## The test without a known truth
#
# The same question for any network: `heschl faithful RUN`. The fall of the answer's probability while cells are taken out, most
# relevant first, beside random and loudest first. Silence takes the place of what is taken out: with each row's mean, which is
# the default for spectrograms, something of the tone would stay in its row, and that is all that this network needs.

# %%
held = faithful(
    run,
    clips=4 if STEPS < 20 else 20,
    methods=("lrp:epsilon_plus", "gradient_x_input"),
    cells=("time_frequency",),
    baseline="silence",
)
shutil.copy(Path(held["folder"]) / "faithful.png", OUT / "taken-apart.png")
for row in held["rows"]:
    print(f"{row['method']:<18} probability falls by {told(row['deletion_aopc'], percent=False)}")
print(f"intervals over {held['speakers']} synthetic voices")
