# %% [markdown]
# # Phones, frame by frame
#
# A perceptron looks at windows of 25 frames and names the phone in the middle of each, a hundred times a second: the network
# of a well-known course on deep learning, here at a small size on synthetic sentences. Its answer is a TextGrid that Praat
# opens. With your own phones (TIMIT, TextGrids, .lab files), take the recipe `frames-mlp` or `phones-lstm`.

# %%
import os
import shutil
from pathlib import Path

import heschl
from heschl.tasks.scores import told

STEPS = int(os.environ.get("STEPS", "600"))  # of the optimiser, batches of 256 frames; a test takes 2
VOICES = 12 if STEPS < 20 else None  # None: all of the synthetic voices
OUT = Path(os.environ.get("OUT", "stories/phones-frame-by-frame"))

# %%
short = {"train.steps": STEPS, "train.epochs": None, "corpus.voices": VOICES, "machine.workers": 0}
run = heschl.train("frame-mlp-small", short, runs=OUT / "runs", quiet=True)
print(f"{len(run.labels)} phones; windows of {run.in_shape[0]} frames of {run.in_shape[1]} mel bands")

# %% [markdown]
# ## How good is it?
#
# Silence is long and easy, so that plain accuracy flatters; the balanced one counts every phone the same.

# %%
held = heschl.evaluate(run)
for name, scores in (
    ("all frames", held["scores"]["all"]),
    ("without silence", held["scores"]["without_silence"]),
):
    print(
        f"{name}: {told(scores['accuracy'])} right, balanced over phones {told(scores['balanced_accuracy'])}"
    )
    print(f"  guessing {100 * scores['chance']:.1f} %, always the commonest {100 * scores['majority']:.0f} %")
print(f"{scores['n_groups']} synthetic voices that it never heard")
shutil.copy(Path(held["folder"]) / "confusion.png", OUT / "confusion.png")

# %% [markdown]
# ## Ask it about a recording

# %%
from heschl.files import read_audio, write_wav  # noqa: E402

clip = run.corpus().by_id[run.split.test[0]]
write_wav(OUT / "sentence.wav", *read_audio(clip.signal, clip.start, clip.stop))
answers = heschl.predict(run, [OUT / "sentence.wav"], textgrids=OUT / "textgrids")
print(f"said: {clip.labels['text']}")
print("heard: " + " ".join(str(label) for label in answers["label"]))
print(f"true:  {' '.join(span.symbol for span in clip.spans if span.tier == 'phone')}")
print(f"the TextGrid is {next((OUT / 'textgrids').iterdir()).name}")
