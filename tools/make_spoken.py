"""Speaks the corpus that ships in the package (src/heschl/corpora/data/spoken), once, with espeak-ng.

Run it from the repository: ``python tools/make_spoken.py``. It needs the extra ``heschl[speak]``. The samples before
compression are the same every time; an Ogg file holds a random serial number, so its bytes are not.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import soundfile

from heschl.corpora.spoken import COLUMNS, PACKAGED, PACKAGED_EACH, PACKAGED_VOICES
from heschl.corpora.spoken_make import made
from heschl.files import read_csv, write_csv, write_text

# libsndfile's scale, 0 (best) to 1: about 38 kbit/s, which keeps the whole under 6 MB.
COMPRESSION = 0.7


def main() -> None:
    asked = {"words": None, "sentences": None, "each": PACKAGED_EACH, "voices": PACKAGED_VOICES, "seed": 0}
    with tempfile.TemporaryDirectory() as temporary:
        folder = made(
            asked, Path(temporary), lambda done, count: print(f"{done} of {count} speakers", end="\r")
        )
        (PACKAGED / "audio").mkdir(exist_ok=True)
        sums = []
        for source in sorted((folder / "audio").iterdir()):
            wave, rate = soundfile.read(source, dtype="float32")
            path = PACKAGED / "audio" / f"{source.stem}.ogg"
            # In pieces: libsndfile's Vorbis encoder overflows its stack on a minute at once.
            with soundfile.SoundFile(
                path, "w", rate, 1, "VORBIS", format="OGG", compression_level=COMPRESSION
            ) as out:
                for start in range(0, len(wave), rate):
                    out.write(wave[start : start + rate])
            if soundfile.info(path).frames != len(wave):
                raise SystemExit(f"{path} does not hold all samples")
            sums.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  audio/{path.name}")
        skipped = read_csv(folder / "skipped.csv")
        rows = [
            row | {"file": row["file"].replace(".flac", ".ogg")} for row in read_csv(folder / "index.csv")
        ]
    if skipped:
        raise SystemExit(f"not everything could be said: {skipped[0]['why']}")
    write_csv(PACKAGED / "index.csv", rows, COLUMNS)
    write_text(PACKAGED / "SHA256SUMS", "\n".join(sums) + "\n")
    size = sum(path.stat().st_size for path in PACKAGED.rglob("*") if path.is_file())
    print(f"\n{len(rows)} clips, {PACKAGED_VOICES} speakers, {size / 1e6:.2f} MB in {PACKAGED}")


if __name__ == "__main__":
    main()
