# %% [markdown]
# # Your own recordings
#
# Names that follow a pattern become a table, the table is checked, and any of its columns can be learned. Here twelve
# synthetic voices stand in for your recordings: a folder of files called `SPEAKER_WORD_N.wav`. Put your own in its place.

# %%
import os
import shutil
from pathlib import Path

import heschl
from heschl.corpora import table
from heschl.files import read_audio, write_csv, write_wav
from heschl.tasks.scores import told

STEPS = int(os.environ.get("STEPS", "300"))  # of the optimiser; a test takes 2
OUT = Path(os.environ.get("OUT", "stories/own-recordings"))
MINE = OUT / "recordings"

# %%
WORDS = ("yes", "no", "stop", "go")
for clip in heschl.read_corpus("spoken", None, kind="word", voices=12).clips:
    if clip.labels["word"] in WORDS:
        wave, rate = read_audio(clip.signal, clip.start, clip.stop)
        write_wav(MINE / f"{clip.labels['speaker']}_{clip.labels['word']}_1.wav", wave, rate)
print(f"{len(list(MINE.glob('*.wav')))} files, such as {min(MINE.glob('*.wav')).name}")

# %% [markdown]
# ## A table from the names
#
# The same on the command line: `heschl corpora table recordings --pattern '{speaker}_{label}_{n}.wav'`, then
# `heschl corpora check recordings/table.csv`.

# %%
rows = table.from_pattern(MINE, "{speaker}_{label}_{n}.wav")
write_csv(MINE / "table.csv", rows, list(rows[0]))
print("\n".join(table.check(MINE / "table.csv")))

# %% [markdown]
# ## Learn a column
#
# Speakers never cross parts: the network is asked about voices that it has not heard.

# %%
mine = {
    "name": "mine",
    "corpus": {"use": "table", "root": str(MINE / "table.csv")},
    "task.label": "label",
    "split.label": "label",
    "train.steps": STEPS,
    "train.epochs": None,
    "machine.workers": 0,
}
run = heschl.train("kws-small", mine, runs=OUT / "runs", quiet=True)
held = heschl.evaluate(run)
scores = held["scores"]
print(
    f"balanced accuracy {told(scores['balanced_accuracy'])} over {scores['n_groups']} voices, {scores['n']} clips"
)
print(f"guessing would reach {100 * scores['chance']:.0f} %")
shutil.copy(Path(held["folder"]) / "confusion.png", OUT / "confusion.png")

# %% [markdown]
# Two voices and eight clips are few, and synthetic voices resemble each other: such an interval says little, even where it is
# narrow. `heschl crossval` asks about every voice in turn.
#
# ## Ask it

# %%
files = [run.corpus().by_id[clip].signal for clip in run.split.test[:3]]
for answer in heschl.predict(run, files).itertuples():
    print(f"{Path(answer.file).name}: “{answer.label}”, {100 * answer.probability:.0f} % sure")
