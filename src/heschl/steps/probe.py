"""What is inside the network of a run? Linear probes, similarity of layers, selectivity of units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from heschl.explanation import probe as pr
from heschl.explanation.selectivity import ALPHA, LEAST, WINDOW, fsi, psi
from heschl.explanation.similarity import cka_table
from heschl.files import write_csv, write_json
from heschl.run import Run, open_run
from heschl.steps.inside import check_areas, inside, untrained
from heschl.steps.networks import Progress, open_network
from heschl.steps.samples import Samples, chosen_clips, gather, is_english, pitches
from heschl.tasks.intervals import weighed
from heschl.types import Clip, Corpus, HeschlError, Skipped

PARTS = ("unheard", "train", "validation", "test", "all")
CLIPS, TOKENS = 400, 3000  # at most so many clips, and so many of their phones
FEWEST = 3  # samples that a class needs; a rarer one is left out, and counted
SOME = 20  # samples that make something worth asking
# What may be asked of a whole clip, by the labels that corpora give it.
VOICE, SAID = ("gender", "sex"), ("word", "digit", "phoneme")


class Target(NamedTuple):
    """What is read off the layers: a label of each sample, the type that control labels hang on, who is kept apart."""

    name: str
    kind: pr.Kind
    rows: np.ndarray  # which samples
    y: np.ndarray
    types: np.ndarray
    apart: np.ndarray
    kept_apart: str
    types_are: str
    of: str  # "phones" or "whole": which samples


def probe(
    run: Run | Path | str,
    part: str = "unheard",
    *,
    targets: Sequence[str] | None = None,
    method: pr.Method = "ridge",
    clips: int = CLIPS,
    nets: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Looks into every area of a run's network and writes RUN/probe/.

    Written are probes.csv (a row for each area and target), similarity.csv (CKA of areas, trained and untrained),
    psi.csv and fsi.csv (a row a unit, where there are phones), probe.json, skipped.csv, and figures of each.

    Parameters
    ----------
    part: "unheard" is validation and test together: speakers that the network was not trained on; or "train",
        "validation", "test", "all".
    targets: out of "phone", "pitch", "speaker", and the clips' labels ("gender", "word", ...); None for all that
        the corpus has.
    method: of the probes of classes, "ridge" or "logistic".
    clips: at most so many, evenly over speakers.
    nets: untrained networks of the same architecture that stand beside; their answers' scores are averaged.

    Returns
    -------
    what probe.json holds.

    Raises
    ------
    HeschlError: the network has no areas with times, the part has fewer than three speakers, or nothing to probe.
    """
    run = open_run(run)
    weights = run.weights_id
    corpus, network = run.corpus(), open_network(run)
    check_areas(network.model)
    asked = chosen_clips(_clips(run, corpus, part), clips, seed)
    _enough(asked, run, part)
    if nets < 1:
        raise HeschlError(f"{nets} untrained networks are asked for: give one at least")
    total = len(asked) * (1 + nets)
    skipped: list[Skipped] = []

    def told(k: int) -> Progress | None:
        return (lambda done, of: progress(k * of + done, total)) if progress else None

    trained = gather(inside(network, asked, skipped, progress=told(0)), seed)
    if not trained.clips:
        raise HeschlError(f"no clip could be heard; the first was skipped because {skipped[0].why}")
    chosen = _wanted(_targets(trained, seed, targets), targets, corpus)
    blank = [
        gather(inside(network, trained.clips, [], untrained(run, seed + k), told(k + 1)), seed)
        for k in range(nets)
    ]
    rows: list[dict[str, Any]] = []
    left_out: dict[str, dict[str, int]] = {}
    for target in chosen:
        made, dropped = _probed(trained, blank, target, method, seed)
        rows += made
        left_out |= {target.name: dropped} if dropped else {}
    folder = run.folder / "probe"
    held: dict[str, Any] = {
        "run": run.name,
        "weights": weights,
        "corpus": corpus.name,
        "synthetic": corpus.synthetic,
        "part": part,
        "clips": len(trained.clips),
        "speakers": len(set(trained.speakers)),
        "speakers_known": _speakers_known(trained.clips),
        "phones": len(trained.spans),
        "skipped": len(skipped),
        "areas": list(trained.units),
        "units": trained.units,
        "untrained_networks": nets,
        "method": method,
        "seed": seed,
        "left_out": left_out,
        "probes": rows,
        "similarity": _similarity(trained, blank[0]),
        "selectivity": _selectivity(trained, folder),
    }
    write_csv(folder / "skipped.csv", [item._asdict() for item in skipped], ["where", "why"])
    if rows:
        write_csv(folder / "probes.csv", [_flat(row) for row in rows], list(_flat(rows[0])))
    table = [
        {"of": name, "area": one, **{other: _plain(v) for other, v in zip(trained.units, line, strict=True)}}
        for name, matrix in held["similarity"].items()
        for one, line in zip(trained.units, matrix, strict=True)
    ]
    write_csv(folder / "similarity.csv", table, ["of", "area", *trained.units])
    _draw(folder, held)
    held["folder"] = str(folder)
    write_json(folder / "probe.json", held)
    return held


# --- which clips, which targets ------------------------------------------------------------------------------


def _clips(run: Run, corpus: Corpus, part: str) -> list[Clip]:
    if part not in PARTS:
        raise HeschlError(f"there is no part '{part}': choose {', '.join(PARTS[:-1])} or {PARTS[-1]}")
    names = {"unheard": ("validation", "test"), "all": ("train", "validation", "test")}.get(part, (part,))
    ids = [one for name in names for one in getattr(run.split, name)]
    found = [corpus.by_id[one] for one in ids if one in corpus.by_id]
    if not found:
        raise HeschlError(f"the {part} part of {run} holds no clip that is there: try --part all")
    return found


def _speakers_known(clips: Sequence[Clip]) -> bool:
    return all(clip.labels.get("speaker") for clip in clips)


def _enough(clips: Sequence[Clip], run: Run, part: str) -> None:
    n = len({clip.labels.get("speaker") or clip.id for clip in clips})
    if n < 3:
        other = "" if part == "all" else ": look at all clips with --part all"
        raise HeschlError(
            f"the {part} part of {run} has {n} speaker{'s' * (n != 1)}, and a probe needs three, to be judged on one that it "
            f"has not heard{other or ', which this corpus does not have'}"
        )


def _targets(samples: Samples, seed: int, wanted: Sequence[str] | None) -> dict[str, Target]:
    """Everything that these clips can be asked."""
    found: dict[str, Target] = {}
    clips, speakers = samples.clips, samples.speakers
    everyone = np.arange(len(clips))
    said = next((name for name in SAID if len({clip.labels.get(name) or "" for clip in clips}) > 1), None)
    spoken = np.array(
        [clip.labels.get(said or "text") or clip.labels.get("text") or clip.id for clip in clips]
    )
    if len(samples.spans) >= SOME:
        rows = np.arange(len(samples.spans))
        if len(rows) > TOKENS:
            rows = np.sort(np.random.default_rng(seed).choice(rows, TOKENS, replace=False))
        owner = np.array([clip for clip, _, _ in samples.spans])[rows]
        phone, sort = (np.array([span[k] for span in samples.spans])[rows] for k in (1, 2))
        found["phone"] = Target(
            "phone",
            "class",
            rows,
            phone,
            sort,
            speakers[owner],
            "speakers",
            "the word and the place in it",
            "phones",
        )
    for name in VOICE + SAID:
        y = np.array([clip.labels.get(name) or "" for clip in clips])
        rows = everyone[y != ""]
        if len(set(y[rows])) < 2 or len(rows) < SOME:
            continue
        voice = name in VOICE
        types = spoken if voice else np.array([clip.id for clip in clips])
        of = "the word" if voice else "the clip"
        found[name] = Target(
            name, "class", rows, y[rows], types[rows], speakers[rows], "speakers", of, "whole"
        )
    if wanted is None or "pitch" in wanted:
        found |= _pitch(samples, found.get("phone"), spoken)
    if _speakers_known(clips) and len(set(spoken)) > 2:
        found["speaker"] = Target(
            "speaker", "class", everyone, speakers, spoken, spoken, "what is said", "the word", "whole"
        )
    return found


def _pitch(samples: Samples, phone: Target | None, spoken: np.ndarray) -> dict[str, Target]:
    """The voice's pitch at each phone that has one, or where phones are not known in each clip."""
    whole, tokens = pitches(samples)
    if phone is not None:
        y, rows, types, apart, of = tokens[phone.rows], phone.rows, phone.types, phone.apart, phone.of
    else:
        y, rows, types, apart, of = whole, np.arange(len(whole)), spoken, samples.speakers, "whole"
    keep = np.isfinite(y)
    if keep.sum() < SOME or len(set(apart[keep])) < 3:
        return {}
    sort = "the word" if phone is None else phone.types_are
    return {
        "pitch": Target(
            "pitch", "number", rows[keep], y[keep], types[keep], apart[keep], "speakers", sort, of
        )
    }


def _wanted(known: dict[str, Target], names: Sequence[str] | None, corpus: Corpus) -> list[Target]:
    if names is None:
        chosen = list(known.values())
    else:
        for name in names:
            if name not in known:
                raise HeschlError(
                    f"{corpus.name} cannot be asked about '{name}' here: it can about {', '.join(known) or 'nothing'}"
                )
        chosen = [known[name] for name in names]
    if not chosen:
        raise HeschlError(
            f"{corpus.name} has neither phones nor labels that differ: there is nothing to read off"
        )
    return chosen


# --- probes --------------------------------------------------------------------------------------------------


def _probed(
    trained: Samples, blank: Sequence[Samples], target: Target, method: pr.Method, seed: int
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """A row for each area, and how many samples of which class were too few."""
    dropped: dict[str, int] = {}
    keep = np.ones(len(target.y), bool)
    if target.kind == "class":
        count = Counter(target.y.tolist())
        dropped = {name: n for name, n in sorted(count.items()) if n < min(FEWEST, len(target.y) // 4)}
        keep = ~np.isin(target.y, list(dropped))
    y, apart, rows = target.y[keep], target.apart[keep], target.rows[keep]
    if (target.kind == "class" and len(set(y)) < 2) or len(set(apart)) < 3:
        return [], dropped
    owner = np.arange(len(trained.clips))
    if target.of == "phones":
        owner = np.array([clip for clip, _, _ in trained.spans])
    clips = owner[rows]
    groups = trained.speakers[clips]
    control = pr.control_labels(target.types[keep], y, seed)
    how: dict[str, Any] = {"apart": apart, "kind": target.kind, "seed": seed}
    how["method"] = method if target.kind == "class" else "ridge"
    table = []
    for area in trained.units:
        x = getattr(trained, target.of)[area][rows]
        task, heart = pr.probe(x, y, groups, **how), pr.probe(x, control, groups, **how)
        others = [pr.probe(getattr(one, target.of)[area][rows], y, groups, **how) for one in blank]
        table.append(
            {
                "area": area,
                "target": target.name,
                "measure": "balanced accuracy" if target.kind == "class" else "R²",
                "n": len(y),
                "samples_are": "phones" if target.of == "phones" else "clips",
                "n_speakers": len(set(groups)),
                "classes": len(task.classes),
                "chance": task.chance,
                "kept_apart": target.kept_apart,
                "control_type": target.types_are,
                "units": trained.units[area],
                "probed_units": x.shape[1],
                "score": _score(task, clips, seed),
                "control": _score(heart, clips, seed),
                "selectivity": _minus(task, heart, clips, seed),
                "untrained": _mean([_score(one, clips, seed) for one in others]),
                "gain": _mean([_minus(task, one, clips, seed) for one in others]),
            }
        )
    return table, dropped


def _score(found: pr.Probed, clips: np.ndarray, seed: int) -> dict[str, float | None]:
    """With its interval over groups; clips: (sample,) of which clip each is."""
    ends = (0.0 if found.kind == "class" else -np.inf, 1.0)
    return weighed(lambda w: pr.score(found, w), found.groups, units=clips, seed=seed, ends=ends)


def _minus(task: pr.Probed, other: pr.Probed, clips: np.ndarray, seed: int) -> dict[str, float | None]:
    end = 1.0 if task.kind == "class" else np.inf
    return weighed(
        lambda w: pr.difference(task, other, w), task.groups, units=clips, seed=seed, ends=(-end, end)
    )


def _mean(values: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """The mean over untrained networks of estimate and bounds; of one, itself."""
    found: dict[str, float | None] = {}
    for key in ("value", "low", "high"):
        numbers = [one[key] for one in values]
        found[key] = None if None in numbers else float(np.mean([float(n) for n in numbers if n is not None]))
    return found


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, dict):
            flat |= {
                key if part == "value" else f"{key}_{part}": _plain(number) for part, number in value.items()
            }
        else:
            flat[key] = value
    return flat


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


# --- similarity and selectivity ------------------------------------------------------------------------------


def _similarity(trained: Samples, blank: Samples) -> dict[str, list[list[float | None]]]:
    """CKA (without bias) of areas with areas: within the trained network, and of it (rows) with the untrained one."""
    pairs = {"trained with itself": trained.moments, "trained with untrained": blank.moments}
    tables = {name: cka_table(trained.moments, other) for name, other in pairs.items()}
    return {
        name: [[float(v) if np.isfinite(v) else None for v in row] for row in table]
        for name, table in tables.items()
    }


def _selectivity(samples: Samples, folder: Path) -> dict[str, Any] | None:
    """PSI and FSI of every unit, written as tables; a summary for each area. None where there are no phones."""
    phones = [phone for _, phone, _ in samples.spans]
    if sum(1 for n in Counter(phones).values() if n >= LEAST) < 2:
        return None
    measures = {"psi": psi, "fsi": fsi} if is_english(phones) else {"psi": psi}
    summary: dict[str, Any] = {"window": list(WINDOW), "alpha": ALPHA, "least": LEAST, "areas": {}}
    for name, measure in measures.items():
        rows: list[dict[str, Any]] = []
        for area, responses in samples.responses.items():
            counts, names = measure(responses, phones)
            units = samples.chosen[area]
            rows += [
                {"area": area, "unit": int(unit), **dict(zip(names, map(int, line), strict=True))}
                for unit, line in zip(units, counts, strict=True)
            ]
            own = summary["areas"].setdefault(area, {"units": samples.units[area], "looked_at": len(units)})
            own[name] = {
                "names": list(names),
                "most": len(names) - 1,
                "mean": [float(v) for v in counts.mean(0)],
                "selective_units": float((counts.max(1) > 0).mean()),
                "median_of_best": float(np.median(counts.max(1))),
            }
        write_csv(folder / f"{name}.csv", rows, list(rows[0]))
    return summary


def _draw(folder: Path, held: dict[str, Any]) -> None:
    from heschl.figures.probe import probes_figure, selectivity_figure, similarity_figure
    from heschl.figures.style import save

    if held["probes"]:
        drawn = probes_figure(
            held["probes"], held["areas"], synthetic=held["synthetic"], known=held["speakers_known"]
        )
        save(drawn, folder / "probes")
    save(similarity_figure(held["similarity"], held["areas"]), folder / "similarity")
    if held["selectivity"] is not None:
        save(selectivity_figure(held["selectivity"]["areas"], "psi"), folder / "psi")
        if "fsi" in next(iter(held["selectivity"]["areas"].values())):
            save(selectivity_figure(held["selectivity"]["areas"], "fsi"), folder / "fsi")
