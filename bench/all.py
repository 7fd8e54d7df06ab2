"""Runs every bench of speed and memory on a quiet machine, and puts their tables into README.

    python bench/all.py            (make bench)

What needs real recordings, runs, or hours, is apart: each of those scripts says how.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BENCHES = {
    "1-features.md": ["features.py", "--threads", "2"],
    "2-training.md": ["training.py", "--threads", "2"],
    "3-relevance.md": ["lrp.py"],
    "4-shortcut.md": ["shortcut.py"],
    "6-localise.md": ["localise.py"],
    "8-encode.md": ["encode.py", "--threads", "2"],
    "9-nulls.md": ["nulls.py"],
    "10-superlet.md": ["superlet.py", "--threads", "2"],
    "11-export.md": ["export.py"],
    "12-place.md": ["place.py"],
    "15-cluster.md": ["cluster.py"],
    "16-streaming.md": ["streaming.py", "--threads", "2"],
    "21-precision.md": ["precision.py", "--threads", "2"],
}


def main() -> int:
    failed = []
    for table, (script, *options) in BENCHES.items():
        print(f"--- {script}", flush=True)
        out = HERE / "results" / table
        if subprocess.run([sys.executable, HERE / script, *options, "--out", out], check=False).returncode:
            failed.append(script)
    subprocess.run([sys.executable, HERE / "readme.py"], check=True)
    if failed:
        print(f"a target was missed, or the bench broke: {', '.join(failed)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
