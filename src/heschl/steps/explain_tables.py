"""Tables of explanations: a row a clip, a row for each phone, word and band of it, and their summary over speakers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from heschl.explanation.summary import Region, summarise
from heschl.files import write_csv

CLIPS = ("clip", "speaker", "target", "answered", "probability", "answered_probability", "total", "method")
REGIONS = ("clip", "speaker", "kind", "name", "relevance", "area")
SUMMARY = ("kind", "name", "clips", "speakers", "relevance", "area", "difference", "p", "p_holm")


def write_tables(folder: Path, rows: Sequence[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Writes clips.csv, regions.csv and summary.csv; gives the summary and what must be said about it."""
    write_csv(folder / "clips.csv", [{key: row.get(key, "") for key in CLIPS} for row in rows], CLIPS)
    regions: list[dict[str, Any]] = []
    by_clip: dict[str, list[Region]] = defaultdict(list)
    for row in rows:
        for kind, name, relevance, area in row.get("regions", []):
            region = Region(kind, name, relevance, area)
            by_clip[row["clip"]].append(region)
            regions.append({"clip": row["clip"], "speaker": row["speaker"], **region._asdict()})
    write_csv(folder / "regions.csv", regions, REGIONS)
    unknown = sum(not row["speaker"] for row in rows)
    found, sentence = summarise(((row["speaker"], by_clip[row["clip"]]) for row in rows), seed)
    if unknown:
        for one in found:
            one["p"] = one["p_holm"] = one["speakers"] = None
        clips = "one clip" if unknown == 1 else f"{unknown} clips"
        sentence = f"of {clips} nobody knows who speaks, so that nothing is tested over speakers"
    write_csv(folder / "summary.csv", found, SUMMARY)
    return {
        "summary": found,
        "summary_note": sentence,
        "speakers": len({row["speaker"] for row in rows} - {""}),
    }
