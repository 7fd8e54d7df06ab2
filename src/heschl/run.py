"""The run folder: where each thing of a training lies, and how it is opened again.

runs/<name>-<hash>/
  recipe.yaml origin.json split.json history.csv curves.png skipped.csv train.log
  checkpoints/best.safetensors last.ckpt epoch-0010.safetensors
  evaluate/ explain/ probe/ place/ align/ decode/ export/   (each written by the step of that name)
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from heschl.checkpoints import about_weights, last_weights
from heschl.files import read_csv, read_json, read_weights, write_bytes, write_json
from heschl.recipe import CorpusPart, Recipe, load, run_name
from heschl.recipe.parts import build, check_part, importable
from heschl.recipe.plain import read_yaml, write_yaml
from heschl.types import Corpus, HeschlError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from heschl.corpora import Progress
    from heschl.corpora.split import Split
    from heschl.features.speech import Speech

_WINDOWS = 4096  # examples at once where every frame is one: 33 MB of 51 frames of 40 bands


def read_heard(
    part: CorpusPart,
    folder: Path | None = None,
    trusted_only: bool = False,
    progress: Progress | None = None,
) -> Corpus:
    """The corpus that a recipe's section names, silence cut where it says so, with its labels made.

    progress: of reading, see `heschl.read_corpus`."""
    from heschl.corpora import read_corpus, relabel

    read, _ = check_part(part.use, part.args, "corpus", at="corpus", folder=folder, trusted_only=trusted_only)
    find = speech_of(part, folder, trusted_only)
    given: dict[str, Any] = dict(part.args)
    if (
        find is not None and "speech" in inspect.signature(read).parameters
    ):  # it lays windows of its own by it
        given["speech"], find = find, None
    with importable(None if trusted_only else folder):
        corpus = read_corpus(part.use, progress=progress, **given)
    if find is not None:
        from heschl.features.speech import cut_corpus

        corpus = cut_corpus(corpus, find)
    return relabel(corpus, part.relabel)


def speech_of(part: CorpusPart, folder: Path | None = None, trusted_only: bool = False) -> Speech | None:
    """What finds speech in the sounds of a recipe's corpus; None where the recipe leaves silence in."""
    if part.speech is None:
        return None
    from heschl.features.speech import Speech

    one, at = part.speech, "corpus.speech"
    made, given = check_part(one.use, one.args, "speech", at=at, folder=folder, trusted_only=trusted_only)
    return Speech(made, given, one.thresholds)


# --- the folder ----------------------------------------------------------------------------------------


class Run:
    """A trained network and all that belongs to it; see `open_run`.

    Attributes
    ----------
    folder: the run folder; of a model that comes along, made of its files when it is first asked for, so that a
        question that is refused leaves nothing behind. The run as text, for messages, is its path and makes nothing.
    recipe: as it was trained.
    origin: versions, command, device, corpus, counts (origin.json).
    """

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        origin: Mapping[str, Any],
        trusted_only: bool = False,
        source: Path | None = None,
    ) -> None:
        self._folder = folder
        self._source = source  # of a model that comes along
        self.recipe = recipe
        self.origin = dict(origin)
        self._trusted_only = trusted_only

    def __str__(self) -> str:
        return str(self._folder)

    def __repr__(self) -> str:
        return f"Run({str(self)!r})"

    @property
    def folder(self) -> Path:
        if self._source is not None:
            _unpack(self._source, self._folder)
        return self._folder

    @property
    def held(self) -> Path:
        """Where what was trained is read: the folder, or the package's while the model has none."""
        return self._source or self._folder

    @property
    def name(self) -> str:
        return str(self.origin["run"])

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the network's outputs."""
        return tuple(self.origin["labels"])

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape of the network's input, without the batch axis."""
        return tuple(self.origin["in_shape"])

    @property
    def finished(self) -> bool:
        """Training has come to its end; a run that was stopped is resumed by the same command."""
        return self.origin.get("stop") is not None

    @functools.cached_property
    def split(self) -> Split:
        """The ids of each part's clips, as trained."""
        from heschl.corpora.split import read_split

        return read_split(self.held / "split.json")

    @property
    def history(self) -> list[dict[str, float]]:
        """Rows of history.csv, one an epoch; empty where nothing was trained."""
        path = self.held / "history.csv"
        if not path.exists():
            return []
        return [{key: float(text) for key, text in row.items() if text != ""} for row in read_csv(path)]

    def weights(self, which: str = "best") -> dict[str, torch.Tensor]:
        """The network's state dict: "best" by validation, "last", or a kept "epoch-0010".

        Of a run whose training has not ended it warns: what is told of these weights is not told of the run.

        Raises
        ------
        HeschlError: there are none yet, or they belong to another run.
        """
        if not self.finished:
            warnings.warn(
                f"{self} has not been trained to its end ({len(self.history)} epochs so far): this is the network as it stands",
                stacklevel=2,
            )
        if which == "last":
            return last_weights(self.held / "checkpoints" / "last.ckpt", self.name)
        path = self._weights_file(which)
        state = read_weights(path)
        owner = about_weights(path).get("run", self.name)
        if owner != self.name:
            raise HeschlError(
                f"{path} holds weights of the run {owner}, not of {self.name}: put its own back"
            )
        return state

    @property
    def weights_id(self) -> str:
        """A hash of the best weights, so that what was told of others is not taken for theirs.

        Raises
        ------
        HeschlError: there are none yet.
        """
        return hashlib.sha256(self._weights_file("best").read_bytes()).hexdigest()[:16]

    def current(self, held: Mapping[str, Any]) -> bool:
        """Whether a result (what its JSON file holds) was told of the best weights as they are: a training may have gone on
        since. One that names no weights was written before they were named, and passes."""
        return held.get("weights") in (None, self.weights_id)

    def _weights_file(self, which: str) -> Path:
        path = self.held / "checkpoints" / f"{which}.safetensors"
        if not path.exists():
            kept = ", ".join(sorted(item.stem for item in path.parent.glob("*.safetensors"))) or "none"
            raise HeschlError(f"{path} is not there (kept weights: {kept}): train the run to its end")
        return path

    def feature(self) -> nn.Module:
        """The feature: wave -> the network's input."""
        made = build(self.recipe.feature, "feature", folder=self._parts, trusted_only=self._trusted_only)
        return cast("nn.Module", made.eval())

    def model(self, which: str = "best") -> nn.Module:
        """The network with its weights, in eval mode on the CPU."""
        fill = {"in_shape": self.in_shape, "n_outputs": len(self.labels)}
        made = build(
            self.recipe.model, "model", fill=fill, folder=self._parts, trusted_only=self._trusted_only
        )
        state = self.weights(which)
        try:
            made.load_state_dict(state)
        except RuntimeError as error:
            raise HeschlError(
                f"{self.held / 'checkpoints'}: the weights do not fit {self.recipe.model.use} "
                f"({str(error).splitlines()[-1].strip()[:100]}): was its code changed since it was trained?"
            ) from None
        return cast("nn.Module", made.eval())

    def task(self) -> Any:
        """The task, with the run's labels in the run's order."""
        args = {**self.recipe.task.args, "labels": list(self.labels)}
        part = self.recipe.task.model_copy(update={"args": args})
        return build(part, "task", folder=self._parts, trusted_only=self._trusted_only)

    def corpus(self, root: Path | str | None = None, progress: Progress | None = None) -> Corpus:
        """The corpus that the run was trained on, or another folder of the same layout; ``progress`` of reading it."""
        part = self.recipe.corpus
        if root is not None:
            part = part.model_copy(update={"args": {**part.args, "root": str(root)}})
        try:
            return read_heard(part, self._parts, self._trusted_only, progress)
        except HeschlError:
            if root is not None or any((self.split.train, self.split.validation, self.split.test)):
                raise
            raise HeschlError(
                f"{self} comes along without recordings: give some of yours, with --file or as `heschl evaluate "
                f"{self._folder.name} --on FOLDER`"
            ) from None

    def speech(self) -> Speech | None:
        """What cuts silence from a recording before the network hears it; None where nothing does."""
        return speech_of(self.recipe.corpus, self._parts, self._trusted_only)

    def note(self, **facts: Any) -> None:
        """Adds facts to origin.json."""
        self.origin.update(facts)
        write_json(self.folder / "origin.json", self.origin)

    @property
    def _parts(self) -> Path | None:
        """Where the recipe's own parts lie: beside the recipe or, of a run that was unpacked elsewhere, in the run."""
        folder = self.origin.get("recipe_folder")
        if folder is None:
            return self.recipe.folder
        return Path(folder) if Path(folder).is_dir() else self.held


def create_run(folder: Path, recipe: Recipe, origin: Mapping[str, Any], split: Split) -> Run:
    """Writes a new run folder: recipe, split and origin (last, so that a half-written folder is no run)."""
    from heschl.corpora.split import write_split

    held = recipe.model_dump(mode="json", exclude_defaults=True)
    for key, value in held["corpus"].items():  # so that the run can be opened from anywhere
        if (key == "root" or key.endswith("_root")) and isinstance(value, str):
            held["corpus"][key] = str(Path(value).expanduser().absolute())
    speech = held["corpus"].get("speech") or {}
    for key, value in speech.items():  # a detector's own weights
        if isinstance(value, str) and key != "use" and Path(value).expanduser().exists():
            speech[key] = str(Path(value).expanduser().absolute())
    write_yaml(folder / "recipe.yaml", {"format": recipe.format, **held})
    write_split(folder / "split.json", split)
    write_json(folder / "origin.json", dict(origin))
    return Run(folder, recipe, origin)


def open_run(folder: Path | str | Run, *, trusted_only: bool = False) -> Run:
    """Opens a run folder, or a model that comes with heschl by its name (`packaged_runs`).

    A model that comes with heschl becomes runs/NAME once something is to be written about it.

    Parameters
    ----------
    trusted_only: accept a recipe of heschl's own parts alone; for runs that come from strangers.

    Raises
    ------
    HeschlError: it is not a run folder, or its recipe is not the one that was trained.
    """
    if isinstance(folder, Run):
        return folder
    target, source = _places(Path(folder))
    folder = source or target
    for name in ("recipe.yaml", "origin.json", "split.json"):
        if not (folder / name).is_file():
            what = "is not there" if not folder.exists() else f"is not a run folder (it has no {name})"
            model = "" if folder.exists() else f", or a model that comes along ({', '.join(packaged_runs())})"
            raise HeschlError(f"{folder} {what}: give the folder that `heschl train` named{model}")
    facts = read_json(folder / "origin.json")
    raw = read_yaml(folder / "recipe.yaml")
    try:
        recipe = load(raw, check_parts=False)
    except HeschlError as error:
        raise HeschlError(f"{folder / 'recipe.yaml'}: {str(error).removeprefix('the recipe: ')}") from None
    try:
        heard = facts["corpus"]["fingerprint"], facts.get("init_fingerprint", "")
        # in the names of earlier runs the shares of `also` were not counted
        expected = {run_name(one, *heard) for one in (recipe, recipe.model_copy(update={"also": []}))}
        name, labels, shape = facts["run"], facts["labels"], facts["in_shape"]
    except (KeyError, TypeError) as error:
        raise HeschlError(
            f"{folder / 'origin.json'} lacks {error}: it is not a run's, or it was changed"
        ) from None
    if not (_all(labels, str) and _all(shape, int)):
        raise HeschlError(
            f"{folder / 'origin.json'}: labels are names and in_shape is whole numbers, and these were changed: restore the file"
        )
    if name not in expected:
        raise HeschlError(
            f"{folder / 'recipe.yaml'} is not the recipe that was trained ({name}): "
            "put it back, or train the changed recipe as a run of its own"
        )
    return Run(target, recipe, facts, trusted_only, source)


def _all(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(isinstance(one, kind) for one in values)


def packaged_runs() -> dict[str, Path]:
    """The models that come with the package: name -> run folder, with a card (README.md) and without recordings."""
    folder = Path(__file__).parent / "weights"
    return {path.parent.name: path.parent for path in sorted(folder.glob("*/recipe.yaml"))}


def _places(folder: Path) -> tuple[Path, Path | None]:
    """The run folder and, of the bare name of a packaged model that has none yet, where its files are."""
    source = packaged_runs().get(str(folder))
    if folder.exists() or source is None:
        return folder, None
    target = Path("runs") / folder.name
    return target, None if (target / "origin.json").is_file() else source


def _unpack(source: Path, target: Path) -> None:
    """A packaged model as a run folder, where it is not there yet."""
    if (target / "origin.json").is_file():
        return
    files = [path for path in sorted(source.rglob("*")) if path.is_file()]
    for path in sorted(files, key=lambda path: path.name == "origin.json"):  # last: half a folder is no run
        write_bytes(target / path.relative_to(source), path.read_bytes())


# --- the network on sound ------------------------------------------------------------------------------


def hear(
    feature: Any,
    model: nn.Module,
    wave: torch.Tensor,
    lengths: torch.Tensor | None = None,
    beside: Mapping[str, torch.Tensor] | None = None,
) -> Any:
    """What a network answers to waves, through its feature: the one way from sound to answers.

    Parameters
    ----------
    wave: (batch, time) at ``feature.sample_rate``. lengths: (batch,) valid samples, or None where all are.
    beside: what travels beside a brain's trials (``positions``, ``subject``), by the names of the network's arguments.

    Returns
    -------
    What the model gives: logits (batch, class), or (batch, step, class) for networks over frames, or a
    NamedTuple of which they are the first field.
    """
    import torch

    with torch.autocast(wave.device.type, enabled=False):  # no spectrum in half precision
        x = feature(wave) if lengths is None else feature(wave, lengths)
    if getattr(feature, "per_frame", False):  # (batch, ..., step): every step is an example of its own
        windows = x.movedim(-1, 1)
        answers = [model(part) for part in windows.flatten(0, 1).split(_WINDOWS)]
        logits = [one[0] if isinstance(one, tuple) else one for one in answers]
        return torch.cat(logits).reshape(*windows.shape[:2], -1)
    given = dict(beside or {})
    if lengths is not None:
        given["lengths"] = feature.steps(lengths.to(x.device)).clamp_max(x.shape[-1])
    return model(x, **given)
