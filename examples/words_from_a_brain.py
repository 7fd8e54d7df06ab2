# %% [markdown]
# # Words from a brain
#
# Which word did somebody hear, or imagine? A neural encoder looks at superlet maps of every electrode, knows where the
# electrodes lie, and learns a codebook, one embedding a word, from the recordings themselves. The brains here are simulated:
# they hear synthetic words and answer with oscillations of known sources. What is found says that the decoder finds what is
# there, and nothing about brains.

# %%
import os
import shutil
from pathlib import Path

import heschl
from heschl.steps.decode import decode

STEPS = int(os.environ.get("STEPS", "300"))  # of the optimiser; a test takes 2
OUT = Path(os.environ.get("OUT", "stories/words-from-a-brain"))
SMALL = STEPS < 20

# %%
short = {
    "corpus.words": 4 if SMALL else 10,
    "corpus.subjects": 1 if SMALL else 2,
    "corpus.blocks": 6 if SMALL else 12,
    "corpus.voices": 2 if SMALL else 4,
    "train.steps": STEPS,
    "train.epochs": None,
    "machine.workers": 0,
}
run = heschl.train("simulated-words", short, runs=OUT / "runs", quiet=True)
print(
    f"{len(run.split.train)} trials to learn from, {len(run.split.test)} to be asked about, in blocks of their own"
)

# %% [markdown]
# ## Which word was it?
#
# Beside the network stand a linear decoder, and both with shuffled words, where anything above chance would be a mistake of
# ours. p is by permutation within blocks.

# %%
held = decode(run, explain=True, permutations=19 if SMALL else 999)


def line(scores):
    top, rank = scores["top_1"], scores["mrr"]
    return (
        f"{100 * top['value']:.0f} % [{100 * top['low']:.0f}, {100 * top['high']:.0f}] right at once, "
        f"chance {100 * top['chance']:.0f} %; reciprocal rank {rank['value']:.2f}, chance {rank['chance']:.2f}"
    )


for name in ("network", "linear"):
    print(f"{name:<20} {line(held[name])}")
    print(f"{name + ', shuffled':<20} {line(held['shuffled'][name])}")
print(f"{held['trials']} trials of {held['subjects']} simulated listeners, {held['words']} words")

# %% [markdown]
# ## What does it rest on?
#
# Relevance over frequency, time and electrodes. The simulated sources oscillate at 7, 12, 20 and 32 Hz, and tell much the same of
# a word: a decoder may do without one, and then it has little relevance.

# %%
found = held["explained"]
print(f"most relevance at {found['frequency']:.0f} Hz and {found['time']:.2f} s")
shutil.copy(Path(held["folder"]) / "explained.png", OUT / "rests-on.png")
