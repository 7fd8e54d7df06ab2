"""What does a network say to any recording? Labels with probabilities, or a TextGrid of what is heard when."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heschl.corpora._headers import looks_like_audio
from heschl.features.stored import Stored
from heschl.files import AUDIO_SUFFIXES, audio_info, text_of
from heschl.run import Run, open_run, packaged_runs
from heschl.steps.evaluate import segment_rows
from heschl.steps.networks import Answer, Network, Progress, answers, open_network
from heschl.steps.predict_stored import predict_stored
from heschl.tasks.scores import softmax
from heschl.tasks.textgrid import write_textgrid
from heschl.types import Clip, HeschlError, Skipped, Span

if TYPE_CHECKING:
    import pandas as pd

WHOLE = (
    1.25  # a recording up to so many times the network's length is one clip; longer ones are cut in windows
)
LONGEST = 30.0  # seconds heard at once by networks that take clips of any length
MARGIN = 1.0  # seconds of the neighbouring windows that a frame network also hears


def predict(
    run: Run | Path | str,
    files: Iterable[Path | str] | Path | str,
    *,
    hop: float | None = None,
    textgrids: Path | str | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Labels with probabilities for recordings or folders of them.

    Parameters
    ----------
    run: a run folder, the name of a model that comes along, or weights in a run's ``checkpoints``.
    files: recordings, and folders, which are searched through; or one of them.
    hop: seconds from one window of a long recording to the next; by default half a window.
    textgrids: for networks over frames, a folder for one Praat TextGrid a recording.
    progress: told how many windows are done, of how many.
    say: told, once, that recordings are of another rate and are resampled.

    Returns
    -------
    a row for each recording, window or (networks over frames) segment: file, start, stop (seconds), label,
    probability and, of one label a clip, ``p:LABEL`` for each. A recording that cannot be heard has no label, and
    a sentence under ``error``. Networks over stored frames take .npy and .h5 files, see `predict_stored`.

    Raises
    ------
    HeschlError: no recordings are named, ``run`` is no run, or an option is not for its kind of network.
    """
    import pandas as pd

    if hop is not None and not 0 < hop < math.inf:
        raise HeschlError(f"the hop between windows is {hop:g} s: it must be above zero")
    network = _opened(run)
    files = [files] if isinstance(files, Path | str) else files
    if hop is not None and network.frames:
        raise HeschlError("this network answers for every frame, and has no windows to hop: leave --hop out")
    if isinstance(network.feature, Stored):
        if textgrids is not None:
            raise HeschlError(
                "TextGrids are of recordings, and this network takes stored frames: leave --textgrids out"
            )
        return predict_stored(network, files, progress)
    if textgrids is not None and not network.frames:
        raise HeschlError(
            "this network gives one label a clip, and a TextGrid needs one that answers for every frame"
        )
    paths = find_recordings(files)
    skipped: list[Skipped] = []
    clips, seconds = _windows(network, paths, hop, skipped)
    rates = Counter({clip.signal: clip.rate for clip in clips}.values())
    if say and (others := sorted(rates.keys() - {network.sample_rate})):
        told = ", ".join(f"{rates[rate]:,} from {rate:g} Hz" for rate in others)
        say(f"recordings are resampled to {network.sample_rate:g} Hz: {told} (of {len(seconds):,})")
    found = answers(network, clips, skipped=skipped, progress=progress)
    rows: list[dict[str, Any]] = []
    grids = grid_names(paths) if textgrids is not None else {}
    if network.frames:
        for path, parts in itertools.groupby(found, key=lambda answer: answer.clip.signal):
            joined = _joined(list(parts))
            low = joined.clip.start  # where silence before the first speech is cut
            segments = segment_rows(joined, network.labels)
            for row in segments:
                row |= {"start": round(low + row["start"], 6), "stop": round(low + row["stop"], 6)}
            rows += [{"file": str(path), "label": row["answered"], **row} for row in segments]
            if textgrids is not None:
                spans = [Span(row["answered"], row["start"], row["stop"]) for row in segments]
                length = max(seconds[path], spans[-1].stop)
                write_textgrid(Path(textgrids) / f"{grids[path]}.TextGrid", {"phone": spans}, length)
    else:
        rows = [_row(answer, network.labels, seconds[answer.clip.signal]) for answer in found]
    columns = ["file", "start", "stop", "label", "probability"]
    columns += [] if network.frames else [f"p:{label}" for label in network.labels]
    whole = {clip.id: str(clip.signal) for clip in clips}  # what is skipped is a window, or a recording
    bad = {whole.get(item.where, item.where): item.why for item in reversed(skipped)}
    rows += [{"file": text_of(path), "error": bad[str(path)]} for path in paths if str(path) in bad]
    table = pd.DataFrame([{"error": "", **row} for row in rows], columns=[*columns, "error"])
    table["probability"] = pd.to_numeric(table["probability"])
    return table


def _opened(run: Run | Path | str) -> Network:
    """A run's best network, or the weights that are named in its checkpoints."""
    if isinstance(run, Run) or Path(run).is_dir() or str(run) in packaged_runs():
        return open_network(run)
    path = Path(run)
    if path.is_file() and path.parent.name == "checkpoints":
        return open_network(open_run(path.parent.parent), "last" if path.stem == "last" else path.stem)
    raise HeschlError(
        f"{path} is neither a run folder, nor weights in one, nor a model that comes along: give the folder that "
        f"`heschl train` named, or one of {', '.join(packaged_runs())}"
    )


def find_recordings(files: Iterable[Path | str]) -> list[Path]:
    """Recordings that are named, and those in the folders that are named, in order and without doubles.

    Raises
    ------
    HeschlError: nothing is named, or a folder has no recordings.
    """
    found: dict[Path, None] = {}
    for file in files:
        path = Path(file).expanduser()
        if path.is_dir():
            inside = sorted(one for one in path.rglob("*") if _may_be_recording(one, path))
            if not inside:
                raise HeschlError(
                    f"{path} has no recordings ({', '.join(AUDIO_SUFFIXES)}): name another folder"
                )
            found |= dict.fromkeys(inside)
        else:
            found[path] = None
    if not found:
        raise HeschlError("no recordings are named: name files, or folders that hold some")
    return list(found)


def _may_be_recording(path: Path, folder: Path) -> bool:
    """A file that is called like one, or a link that leads nowhere, and containers that cannot be read: they are told of.
    Hidden files are passed over, as in a corpus."""
    lost = path.is_symlink() and not path.exists()
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return looks_like_audio(path.name) and not hidden and (path.is_file() or lost)


def _windows(
    network: Network, paths: Sequence[Path], hop: float | None, skipped: list[Skipped]
) -> tuple[list[Clip], dict[Path, float]]:
    """Every recording as clips: one, or windows of a long one; and how long each recording is."""
    clips, seconds = [], {}
    for path in paths:
        try:
            info = audio_info(path)
            low, high = network.heard_part(path, info.frames / info.rate)
        except HeschlError as error:
            skipped.append(Skipped(str(path), str(error)))
            continue
        seconds[path] = info.frames / info.rate
        for k, (start, stop) in enumerate(_parts(network, low, high, hop)):
            clips.append(Clip(f"{path}#{k}", path, info.rate, {}, start=start, stop=stop))
    return clips, seconds


def _parts(network: Network, low: float, high: float, hop: float | None) -> Iterator[tuple[float, float]]:
    if network.frames:
        for start in np.arange(low, max(high, low + 1e-9), LONGEST):
            yield max(low, float(start) - MARGIN), min(high, float(start) + LONGEST + MARGIN)
        return
    window = network.seconds or LONGEST
    if high - low <= window * (WHOLE if network.seconds else 1.0):
        yield low, high
        return
    step = hop or window / 2
    n = int(np.ceil((high - low - window) / step - 1e-9))
    for k in range(n + 1):
        start = min(low + k * step, high - window)  # the last window ends with the recording
        yield start, start + window


def _row(answer: Answer, labels: Sequence[str], seconds: float) -> dict[str, Any]:
    shares = softmax(answer.logits)
    best = int(shares.argmax())
    stop = answer.clip.stop if answer.clip.stop is not None else seconds
    return {
        "file": str(answer.clip.signal),
        "start": round(answer.clip.start, 6),
        "stop": round(stop, 6),
        "label": labels[best],
        "probability": round(float(shares[best]), 6),
        **{f"p:{label}": round(float(share), 6) for label, share in zip(labels, shares, strict=True)},
    }


# --- networks over frames ----------------------------------------------------------------------------------


def _joined(parts: Sequence[Answer]) -> Answer:
    """The windows of one recording as one answer, on a clock that begins with the first: each frame from the window whose
    middle part holds it."""
    if len(parts) == 1:
        return parts[0]
    logits, times, low = [], [], parts[0].clip.start
    for answer in parts:
        begin = answer.clip.start - low
        at = answer.times + begin
        first = begin + (MARGIN if begin > 0 else 0.0)
        keep = (at >= first - 1e-6) & (at < first + LONGEST - 1e-6)
        logits.append(answer.logits[keep])
        times.append(at[keep])
    seconds = parts[-1].clip.start - low + parts[-1].seconds
    return Answer(parts[0].clip, np.concatenate(logits), np.concatenate(times), seconds)


def grid_names(paths: Sequence[Path]) -> dict[Path, str]:
    """What each recording's TextGrid is called: as the recording and, where two are called the same, with as much of the
    path as tells them apart."""

    def forms(path: Path) -> list[str]:
        parts = [part for part in path.parts if part.strip("/\\:")]
        above = [*parts[:-1], path.stem]
        return ["-".join(above[-1:]), "-".join(above[-3:]), "-".join(above), "-".join(parts)]

    counts = [Counter(form) for form in zip(*map(forms, paths), strict=True)]
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in paths:
        own = forms(path)
        name = next((form for form, count in zip(own, counts, strict=True) if count[form] == 1), own[-1])
        while name in taken:  # "a-b/c.wav" beside "a/b-c.wav"
            name += "-"
        taken.add(name)
        names[path] = name
    return names
