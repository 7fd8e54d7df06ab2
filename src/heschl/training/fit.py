"""A recipe becomes a run: `train`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

from heschl.checkpoints import read_checkpoint, save_weights
from heschl.corpora import fingerprint
from heschl.features.store import pack_waves
from heschl.files import write_csv, write_json
from heschl.provenance import now, origin
from heschl.recipe import Recipe, load, run_name
from heschl.recipe.parts import check_part
from heschl.run import Run, create_run, hear, open_run
from heschl.tasks.loss import logits_of
from heschl.training.channels_last import channels_last
from heschl.training.check import check_recipe, own_parts
from heschl.training.data import (
    Parts,
    TrainBatches,
    loader,
)
from heschl.training.examples import Examples
from heschl.training.keeper import Keeper, SafeCheckpoints, write_history
from heschl.training.learner import Learner, Sums
from heschl.training.memory import keep_memory
from heschl.training.progress import Pace, Voice, told
from heschl.training.start import Start, describe, for_classes, put_weights, read_start
from heschl.training.survey import Survey, survey
from heschl.training.trainer import device_name, hushed, make_trainer, rank, tensorboard
from heschl.types import Batch, HeschlError

__all__ = ["check_recipe", "rank", "train"]

# how gloo and NCCL say that they no longer hear another process
_LOST = re.compile(
    r"(?i)connection (reset|closed|refused)|remote (worker|process)|broken pipe|timed out|NCCL error"
)


def train(
    recipe: Recipe | Path | str | Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    *,
    runs: Path | str = "runs",
    strict: bool = False,
    quiet: bool = False,
) -> Run:
    """Trains what a recipe says; begins where a killed training stopped; says so where all is done.

    Parameters
    ----------
    recipe: a recipe, its file, the name of a shipped one, or a mapping. overrides: dotted keys -> values.
    runs: the folder of run folders.
    strict: anything that would be left out (an unreadable file, a clip without a label) is an error.
    quiet: nothing on stderr; train.log is written all the same.

    Raises
    ------
    HeschlError: one sentence on what is wrong with recipe, data or disk.
    KeyboardInterrupt: it was stopped; the same call goes on.
    """
    if not isinstance(recipe, Recipe):
        recipe = load(recipe, overrides)
    elif overrides:
        folder = recipe.folder
        recipe = load(recipe.model_dump(mode="json", exclude_defaults=True), overrides)
        recipe._folder = folder
    keep_memory()
    voice = Voice(quiet or rank() != 0)
    if recipe.machine.threads is not None:
        torch.set_num_threads(recipe.machine.threads)
    with voice.counting("reading the corpus") as reading:
        made = survey(recipe, strict=strict, progress=reading)
    start = read_start(recipe.train.init)
    start = for_classes(start, made) if start else None
    heard = "".join(fingerprint(one) for one in (made.corpus, *made.also))
    heard = hashlib.sha256(heard.encode("ascii")).hexdigest()[:16]
    name = run_name(recipe, heard, start.fingerprint if start else "")
    folder = Path(runs) / name
    if (folder / "origin.json").is_file():
        run = open_run(folder)
        if run.finished:
            voice(f"{folder} is finished: change the recipe or its seed to train another")
            return run
    for note in made.notes:
        voice(f"note: {note}")
    for finding in own_parts(made):
        voice(f"note: {finding.text}")
    return _Training(made, start, folder, name, heard, voice, strict).go()


class _Training:
    """One training, from packed data to the finished folder."""

    def __init__(
        self,
        made: Survey,
        start: Start | None,
        folder: Path,
        name: str,
        heard: str,
        voice: Voice,
        strict: bool,
    ) -> None:
        self.made, self.recipe, self.start, self.folder = made, made.recipe, start, folder
        self.name, self.heard, self.voice = name, heard, voice
        self.examples = Examples(made, voice, strict)
        self.order = self.examples.order
        train = self.recipe.train
        self.steps = train.steps or (train.epochs or 0) * self.order.epoch_steps
        self.model = channels_last(made.model()) if train.channels_last else made.model()
        self.taken_over: dict[str, list[str]] = {}
        if start is not None:
            self.taken_over = put_weights(self.model, start, exact=self.recipe.train.epochs == 0)
            voice(describe(start, self.taken_over))
        fill = getattr(made.task, "fill", None)  # a task may bring what the network is to keep
        if fill is not None and (said := fill(self.model)):
            voice(said)
        self.beside = self.examples.beside(self.model)
        self._freeze()

    # --- the run ---

    def go(self) -> Run:
        last = self.folder / "checkpoints" / "last.ckpt"
        held: dict[str, Any] | None = None
        if (self.folder / "origin.json").is_file():
            run = open_run(self.folder)
            held = _to_go_on_from(last, self.name) if last.exists() else None
        else:
            run = self._create()
        self.voice.log = self.folder / "train.log"
        if self.recipe.train.epochs == 0:
            about = {"run": self.name, "epoch": 0, "step": 0, "labels": list(self.made.labels)}
            save_weights(self.folder / "checkpoints" / "best.safetensors", self.model.state_dict(), about)
            return self._finish(run)
        begin = 0 if held is None else int(held["learner"]["step"])
        keeper = Keeper(run, self.order.epoch_steps, self.steps, self._validate, self._report)
        learner = self._learner()
        if held is not None:
            keeper.load_state_dict(held["callbacks"][keeper.state_key])
            self.voice(f"goes on at step {begin} of {self.steps}")
            if rank() == 0:
                run.note(resumed=[*run.origin.get("resumed", []), {"time": now(), "step": begin}])
        if not keeper.ended:
            with hushed():
                self._fit(run, learner, keeper, begin, last if held is not None else None)
        if keeper.best is not None:
            run.origin["best"] = keeper.best
        if rank() == 0:
            write_history(run.folder, keeper.rows)
        run.origin["seconds"] = round(keeper.seconds, 1)
        return self._finish(run)

    def _create(self) -> Run:
        made, corpus = self.made, self.made.corpus
        by_part = {
            part: {"clips": len(own), made.split.by + "s": len({made.speaker(clip) for clip in own})}
            for part, own in self.examples.clips.items()
        }
        facts = {
            "run": self.name,
            "corpus": {
                "name": corpus.name,
                "source": corpus.source,
                "licence": corpus.licence,
                "synthetic": corpus.synthetic,
                "fingerprint": self.heard,
                "notes": made.notes,
            },
            "init_fingerprint": self.start.fingerprint if self.start else "",
            "init": self.taken_over,
            "labels": list(made.labels),
            "in_shape": list(made.in_shape),
            "parameters": sum(one.numel() for one in self.model.parameters()),
            "parts": by_part,
            "clips": self.examples.counts,
            "skipped": len(self.examples.skipped),
            "steps": self.steps,
            "epoch_steps": self.order.epoch_steps,
        }
        if rank() != 0:
            return Run(self.folder, self.recipe, facts)
        write_csv(
            self.folder / "skipped.csv", [one._asdict() for one in self.examples.skipped], ["where", "why"]
        )
        cut = [clip for own in made.parts.values() for clip in own if "silence" in clip.labels]
        if cut:
            rows = [
                {"id": clip.id, "start": clip.start, "stop": clip.stop, "silence": clip.labels["silence"]}
                for clip in cut
            ]
            write_csv(self.folder / "silence.csv", rows, list(rows[0]))
        if made.sensors is not None and made.sensors.scaling is not None:
            write_json(self.folder / "scaling.json", made.sensors.scales())
        return create_run(self.folder, self.recipe, origin(self.recipe, **facts), made.split)

    def _finish(self, run: Run) -> Run:
        if rank() == 0:
            run.note(stop=now())
        self.voice(f"done: {run.folder}")
        return run

    def _report(self, row: dict[str, float]) -> None:
        self.voice(told(row, self.steps))

    # --- training ---

    def _freeze(self) -> None:
        for prefix in self.recipe.train.freeze:
            chosen = [one for key, one in self.model.named_parameters() if key.startswith(prefix)]
            if not chosen:
                names = sorted({key.split(".")[0] for key, _ in self.model.named_parameters()})
                raise HeschlError(
                    f"train.freeze: no parameter begins with '{prefix}': they begin with {', '.join(names)}"
                )
            for one in chosen:
                one.requires_grad_(False)

    def _learner(self) -> Learner:
        train, folder = self.recipe.train, self.recipe.folder
        optimiser, given = check_part(train.optimiser.use, train.optimiser.args, "optimiser", folder=folder)
        schedule: Callable[[int], float] = lambda step: 1.0  # noqa: E731
        if train.schedule is not None:
            moves, options = check_part(train.schedule.use, train.schedule.args, "schedule", folder=folder)
            steps, epoch_steps = self.steps, self.order.epoch_steps
            schedule = lambda step: float(moves(step, steps, epoch_steps, **options))  # noqa: E731
        augment = self.made.augment()
        if any(getattr(one, "needs_noise", False) for one in augment):
            rate, by = int(self.made.feature.sample_rate), self.recipe.clip.resample
            store = pack_waves(self.made.corpus.noise, rate, say=self.voice, by=by)
            noise = [store.read([k])[0][0] for k in range(len(store.ids))]
            for one in augment:
                if getattr(one, "needs_noise", False):
                    one.noise = noise
        learner = Learner(
            self.made.feature,
            self.model,
            self.made.task,
            augment,
            lambda parameters: optimiser(parameters, **given),
            schedule,
            self.recipe.seed,
            train.ema,
        )
        learner.beside = self.beside
        return learner

    def _fit(self, run: Run, learner: Learner, keeper: Keeper, begin: int, last: Path | None) -> None:
        machine, train = self.recipe.machine, self.recipe.train
        cuda = machine.device in ("cuda", "gpu") or (machine.device == "auto" and torch.cuda.is_available())
        trainer = make_trainer(
            accelerator=machine.device,
            devices=machine.devices,
            num_nodes=machine.nodes,
            strategy=machine.strategy,
            precision=train.precision,
            max_epochs=1,  # as lightning counts: all that is left of the training is one pass over its steps
            gradient_clip_val=train.clip_gradient,
            logger=tensorboard(self.folder) if machine.tensorboard else False,
            callbacks=[keeper, Pace(self.voice, self.steps, begin, _small(self.recipe))],
            plugins=[SafeCheckpoints(self.name)],
            default_root_dir=self.folder,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            deterministic="warn" if cuda else None,
        )
        if rank() == 0:
            run.note(device=device_name(trainer))

        def batches(trainer: Trainer) -> Any:
            data = TrainBatches(
                self.examples.source, self.order, trainer.global_rank, trainer.world_size, self.made.per_frame
            )
            return loader(data, range(begin, self.steps), machine.workers, pinned=cuda)

        learner.make_loader = batches
        learner.train()
        try:
            trainer.fit(learner, ckpt_path=last, weights_only=True)
        except SystemExit as error:  # lightning's answer to Ctrl-C, which would end a whole session of Python
            if rank() != 0 or not isinstance(error.__context__, KeyboardInterrupt):
                raise
            said = f"stopped: the same command goes on from {self.folder}"
            self.voice(said, aloud=False)
            raise KeyboardInterrupt(said) from None
        except RuntimeError as error:
            if trainer.world_size > 1 and _LOST.search(str(error)):
                raise HeschlError(
                    f"another process of this training was lost at step {learner.step}: see whether it was killed or ran "
                    f"out of memory; the same command goes on from {self.folder}"
                ) from None
            raise

    @torch.no_grad()
    def _validate(self, trainer: Trainer, learner: Learner) -> dict[str, float]:
        """Loss and scores of the validation part; empty where there is none."""
        if not len(self.examples.validation.rows):
            return {}
        size = 8 if self.made.frames else max(self.recipe.train.batch, 64)
        data = Parts(
            self.examples.validation,
            len(self.examples.validation.rows),
            size,
            trainer.global_rank,
            trainer.world_size,
        )
        sums, model = Sums(len(self.made.labels)), learner.chosen
        model.eval()
        for item in loader(data, range(len(data)), 0, pinned=False):
            item = trainer.precision_plugin.convert_input(item).to(learner.device)
            with trainer.precision_plugin.forward_context():
                given = {} if self.beside is None else self.beside.of(item.clips, item.x.device)
                out = hear(learner.feature, model, item.x, item.lengths, given)
                loss = self.made.task.loss(out, Batch(item.x, item.y, item.lengths, (), **given))
            sums.add(loss, logits_of(out).float(), item.y)
        learner.train()
        return sums.scores(lambda one: trainer.strategy.reduce(one, reduce_op="sum"), learner.device)


def _to_go_on_from(last: Path, name: str) -> dict[str, Any]:
    held = read_checkpoint(last, name)
    if not {"step", "sums"} <= set(held.get("learner", ())):
        raise HeschlError(
            f"{last} was written by an earlier heschl, which kept less: remove it to train anew"
        )
    return held


def _small(recipe: Recipe) -> str:
    from heschl.recipe import shipped

    named = recipe.about.small or f"{recipe.name}-small"
    return f"the recipe {named}" if named in shipped() else ""
