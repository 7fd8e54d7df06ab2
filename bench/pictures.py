"""Makes docs/pictures/brain.png: one embedded word from sound to scalp, by way of the small CRNN (illustrative).

    python bench/pictures.py [--run RUN] [--clip ID]

Without a run it trains crnn-small first (two minutes on two cores).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from heschl.files import replacing
from heschl.run import open_run
from heschl.steps.place import place_run
from heschl.training.fit import train

TARGET = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "brain.png"
WIDTH = 1680  # pixels


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, help="a finished run of crnn-small")
    parser.add_argument("--clip", default="s017/seven")
    given = parser.parse_args(arguments)
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        run = open_run(given.run) if given.run else train("crnn-small", runs=Path(folder))
        told = place_run(run, [given.clip], name="readme")
        picture = Image.open(Path(told["folder"]) / "story.png").convert("RGB")
        height = round(picture.height * WIDTH / picture.width)
        small = picture.resize((WIDTH, height), Image.Resampling.LANCZOS)
        with replacing(TARGET) as temporary:
            small.save(temporary, "PNG", optimize=True)
    print(TARGET)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
