r"""Takes the encoder out of a run of `phones-kws`, for other networks to begin with (`train.init: FILE.safetensors`).

    heschl train phones-kws corpus.root=FOLDER also.1.root=FOLDER
    python tools/encoder.py runs/phones-kws-... src/heschl/weights/phones-8k.safetensors

    heschl train phones-kws corpus.root=FOLDER also.1.root=FOLDER \
        feature='{use: spectrogram.LogMel, n_mels: 48, floor: 1.0e-7, normalise: level}'
    python tools/encoder.py runs/phones-kws-... src/heschl/weights/phones-16k.safetensors

Beside it, a card of the same name (.md) says what it heard, how it was trained and what it is for.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors.torch import save_file

from heschl.files import replacing
from heschl.run import open_run

CARD = """# {name}

The encoder of `heschl.models.kws.KWS` ({parameters:,} parameters), taught which of 39 ARPABET phones or silence is being
said. Without its answers: it is where a network of the same sizes may begin (`train.init`), not a recogniser.

- Recipe: `phones-kws`, seed {seed}; model: {model}; input: {feature}.
- It heard: speechocean762 (adults reading sentences; free for commercial and non-commercial use) and 1,273 words of
  Speech Commands v0.01 (CC BY 4.0, the strictest licence among them), phone times by pocketsphinx where the alignment
  looked right; and heschl's own synthetic speech (CC0). No recording of the Free Spoken Digit Dataset or of FEIS.
- How good: as a beginning for digits (phones-8k) or for single phonemes (phones-16k) of speakers that it never heard, see
  README's table; it is scored by that alone.
- Not for: identifying people, or judging how well somebody speaks.
- Phones are canonical pronunciations aligned by machine, and the readers of the sentences have Mandarin as their first
  language: what it learned of other accents and of children comes from a synthesiser, or not at all.
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    run = open_run(given.run)
    weights = {
        name: value.contiguous() for name, value in run.weights("best").items() if ".answer." not in name
    }
    with replacing(given.out) as temporary:
        save_file(weights, str(temporary))
    counters = ("running_", "num_batches_tracked")  # of batch norm: kept with the weights, and none of them
    count = sum(
        value.numel() for name, value in weights.items() if not any(part in name for part in counters)
    )
    recipe = run.recipe
    card = CARD.format(
        name=given.out.stem,
        parameters=count,
        seed=recipe.seed,
        model=recipe.model.args,
        feature={"use": recipe.feature.use, **recipe.feature.args},
    )
    with replacing(given.out.with_suffix(".md")) as temporary:
        temporary.write_text(card, encoding="utf-8")
    print(f"{given.out}: {given.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
