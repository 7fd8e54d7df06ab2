"""How it was done, as a paragraph that a paper could take, with its references; and how to cite."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from heschl.report.decode import UNITS
from heschl.report.disguise import Names
from heschl.run import Run
from heschl.tasks.intervals import by_t
from heschl.wording import counted

REFERENCES = {
    "audiomnist": "Becker S, Vielhaben J, Ackermann M, Müller K-R, Lapuschkin S, Samek W (2024). AudioMNIST: Exploring "
    "explainable artificial intelligence for audio analysis on a simple benchmark. J. Franklin Inst. 361(1), 418–428.",
    "words": "Warden P (2018). Speech Commands: a dataset for limited-vocabulary speech recognition. arXiv:1804.03209.",
    "alexnet": "Krizhevsky A, Sutskever I, Hinton GE (2012). ImageNet classification with deep convolutional neural "
    "networks. Advances in Neural Information Processing Systems 25.",
    "jackknife": "Tukey JW (1958). Bias and confidence in not-quite large samples. Ann. Math. Stat. 29(2), 614.",
    "bootstrap": "Field CA, Welsh AH (2007). Bootstrapping clustered data. J. R. Stat. Soc. B 69(3), 369–390.",
    "lrp": "Bach S, Binder A, Montavon G, Klauschen F, Müller K-R, Samek W (2015). On pixel-wise explanations for "
    "non-linear classifier decisions by layer-wise relevance propagation. PLoS ONE 10(7), e0130140.",
    "lstm": "Arras L, Montavon G, Müller K-R, Samek W (2017). Explaining recurrent neural network predictions in "
    "sentiment analysis. Proc. 8th WASSA, 159–168.",
    "integrated": "Sundararajan M, Taly A, Yan Q (2017). Axiomatic attribution for deep networks. Proc. ICML 70, 3319–3328.",
    "smoothgrad": "Smilkov D, Thorat N, Kim B, Viégas F, Wattenberg M (2017). SmoothGrad: removing noise by adding noise. "
    "arXiv:1706.03825.",
    "gradient": "Simonyan K, Vedaldi A, Zisserman A (2014). Deep inside convolutional networks: visualising image "
    "classification models and saliency maps. arXiv:1312.6034.",
    "occlusion": "Zeiler MD, Fergus R (2014). Visualizing and understanding convolutional networks. Proc. ECCV, 818–833.",
    "deletion": "Samek W, Binder A, Montavon G, Lapuschkin S, Müller K-R (2017). Evaluating the visualization of what a "
    "deep neural network has learned. IEEE Trans. Neural Netw. Learn. Syst. 28(11), 2660–2673.",
    "permutation": "Phipson B, Smyth GK (2010). Permutation p-values should never be zero. Stat. Appl. Genet. Mol. Biol. 9(1), 39.",
    "holm": "Holm S (1979). A simple sequentially rejective multiple test procedure. Scand. J. Stat. 6(2), 65–70.",
}
METHODS = {  # beginning of a method's name -> how it is called, its references
    "lrp": ("layer-wise relevance propagation", ("lrp",)),
    "integrated_gradients": ("integrated gradients", ("integrated",)),
    "smoothgrad": ("SmoothGrad", ("smoothgrad",)),
    "gradient_x_input": ("gradient times input", ("gradient",)),
    "gradient": ("the gradient", ("gradient",)),
    "occlusion_time": ("occlusion of moments", ("occlusion",)),
    "occlusion_frequency": ("occlusion of bands of frequency", ("occlusion",)),
    "occlusion": ("occlusion", ("occlusion",)),
    "aligned": ("occlusion", ("occlusion",)),
}
RECURRENT = ("crnn", "frame_lstm", "frame_mlp")


def methods(
    run: Run,
    held: Mapping[str, Any] | None,
    explained: Mapping[str, Any] | None = None,
    decoded: Mapping[str, Any] | None = None,
    names: Names | None = None,
) -> dict[str, Any]:
    """The paragraph, the references that it needs, and how to cite.

    Parameters
    ----------
    held: scores.json of what the page shows. explained: explain.json likewise. decoded: decode/scores.json.
    names: what the page calls corpora.
    """
    needed: list[str] = []
    sentences = [*_training(run, needed, decoded, names)]
    if held:
        sentences += _scoring(held, needed)
    if decoded:
        needed += ["jackknife" if by_t(decoded["network"]["groups"]) else "bootstrap", "permutation"]
        unit = decoded.get("unit", "word")
        linear = {"word": "shrinkage LDA", "stretch": "ridge regression to the candidates"}[unit]
        sentences.append(
            f"Each of {decoded['trials']:,} trials was scored with all {decoded['words']:,} {UNITS[unit]}, beside a linear decoder "
            f"({linear}, on time bins of the same input, fitted on the training part alone); p is by permutation of {UNITS[unit]} "
            f"within blocks, intervals are {_made(decoded['interval'], decoded['network']['groups'], 'trial')}."
        )
    if explained:
        sentences += _explaining(run, explained, needed)
    made = version("heschl")
    return {
        "sentences": " ".join(sentences),
        "references": [REFERENCES[key] for key in dict.fromkeys(needed)],
        "cite": f"The heschl developers. heschl: a workbench for interpretable speech networks, version {made}. "
        f"Run {run.name}.",
    }


def called(held: Mapping[str, Any]) -> str:
    """The method of an explain.json, as a person calls it."""
    from heschl.figures.faithful import TIERS, named

    method = str(held["method"])
    if method.startswith("aligned:"):
        return f"occlusion ({named(method, held.get('tiers', TIERS))})"
    words = next(
        (words for name, (words, _) in METHODS.items() if method.startswith(name)), f"the function {method}"
    )
    after = method.partition(":")[2].replace("_", " ")
    return f"{words} ({'LRP, rules ' if method.startswith('lrp') else ''}{after})" if after else words


def _training(
    run: Run, needed: list[str], decoded: Mapping[str, Any] | None = None, names: Names | None = None
) -> list[str]:
    recipe, corpus, split = run.recipe, run.origin.get("corpus", {}), run.split
    part, names = recipe.model.use.removeprefix("heschl.models."), names or Names(run)
    for key, words in (
        ("audiomnist", (recipe.corpus.use, part)),
        ("words", (recipe.corpus.use,)),
        ("alexnet", (part,)),
    ):
        if any(key in word or (key == "audiomnist" and "audionet." in word) for word in words):
            needed.append(key)
    feature = recipe.feature.use.removeprefix("heschl.features.")
    clip = (
        f", each cut or padded to {recipe.clip.seconds:g}\u202fs"
        if recipe.clip.seconds
        else ", at full length"
    )
    if recipe.corpus.speech is not None:
        what = "windows laid in speech" if decoded else "silence before and after speech cut"
        clip = f", {what} by {recipe.corpus.speech.use}{clip}"
    kept = f", no {split.by} in two of them" if split.by != "clip" else ""
    parts = {"training": split.train, "validation": split.validation, "test": split.test}
    *first, last = [f"{name} ({len(ids):,})" for name, ids in parts.items() if ids] or [""]
    divided = f"divided into {', '.join(first)} and {last}{kept}, and " if first else ""
    joined, changes = "", ""
    if recipe.also:
        others = ", ".join(one.use.removeprefix("heschl.corpora.") for one in recipe.also)
        joined = f" Recordings of further corpora ({others}) joined the training part."
    if recipe.augment:
        augments = ", ".join(one.use.rsplit(".", 1)[-1] for one in recipe.augment)
        changes = f" Clips of the training part were changed by {augments}."
    what = "Recordings of synthetic speech" if corpus.get("synthetic") else "Recordings"
    if decoded:
        what = f"Trials of {'simulated brains' if decoded['simulated'] else 'brain recordings'}"
    return [
        f"{what} of the corpus {names.corpus(corpus.get('name', recipe.corpus.use))} were {divided}given to the network {part} as "
        f"{feature}{clip}.{joined}{changes}",
        _trained(run),
    ]


DRAWS = {"sqrt": "by the root of their size", "balanced": "equally often"}


def _trained(run: Run) -> str:
    train = run.recipe.train
    if train.epochs == 0:
        return f"It has the weights of {train.init}, and was not trained further."
    given = ", ".join(f"{key} {value}" for key, value in train.optimiser.args.items())
    length = counted(train.epochs, "epoch") if train.epochs is not None else counted(train.steps or 0, "step")
    schedule = f", schedule {train.schedule.use.rsplit('.', 1)[-1]}" if train.schedule else ""
    more = f", gradients clipped at a norm of {train.clip_gradient:g}" if train.clip_gradient else ""
    more += f", classes drawn {DRAWS[train.draws]}" if train.draws in DRAWS else ""
    begun = f", beginning with the weights of {train.init}" if train.init else ""
    begun += f" ({', '.join(train.freeze)} kept as they were)" if train.freeze else ""
    kept = f"the running mean of its weights (decay {train.ema:g})" if train.ema else "the weights"
    chosen = (
        f"with the best {train.monitor.replace('_', ' ')} on the validation part"
        if run.split.validation
        else "of the last step"
    )
    return (
        f"It was trained for at most {length} of batches of {train.batch} with {train.optimiser.use.rsplit('.', 1)[-1]}"
        f"{f' ({given})' if given else ''}{schedule}{more}, {train.precision} arithmetic, seed {run.recipe.seed}{begun}; "
        f"{kept} {chosen} {'was' if train.ema else 'were'} kept."
    )


def _scoring(held: Mapping[str, Any], needed: list[str]) -> list[str]:
    main = held["scores"] if held["kind"] == "clips" else held["scores"]["all"]
    if main["interval_note"]:
        return [f"Scores are of {main['n']:,} {main['unit']}s."]
    needed.append("jackknife" if by_t(main["n_groups"]) else "bootstrap")
    return [
        f"Scores are of {main['n']:,} {main['unit']}s; intervals are "
        f"{_made('over whole ' + main['interval_over'] + 's', main['n_groups'], main['unit'].replace('frame', 'clip'))}."
    ]


def _made(over: str, n_groups: int | None, unit: str) -> str:
    """How intervals are made, over what."""
    if few := by_t(n_groups):
        return (
            f"95\u202f% intervals by Student's t and the jackknife {over.removesuffix(few)}, which are few, and never narrower than "
            f"over {unit}s"
        )
    return f"95\u202f% percentile intervals of a bootstrap {over}"


def _explaining(run: Run, explained: Mapping[str, Any], needed: list[str]) -> list[str]:
    method = str(explained["method"])
    needed += next((keys for name, (_, keys) in METHODS.items() if method.startswith(name)), ())
    if method.startswith("lrp") and any(name in run.recipe.model.use for name in RECURRENT[:2]):
        needed.append("lstm")
    n = explained["clips"]
    answers = "The answer to one recording was" if n == 1 else f"The answers to {n:,} recordings were"
    sentences = [f"{answers} explained by {called(explained)}."]
    if explained.get("sounds"):
        needed.append("audiomnist")
        sentences.append(
            "Explanations were made audible by masking the short-time Fourier transform of each recording with its "
            "relevance, keeping its phase, and the network was asked about each part."
        )
    needed.append("deletion")
    sentences.append(
        "Each was tested by taking cells out of the picture, the most relevant first, beside random and loudest-first order."
    )
    if any(row.get("p_holm") is not None for row in explained.get("summary", [])):
        needed.append("holm")
        sentences.append(
            "Shares of relevance and of area were averaged within speakers and compared by a two-sided sign-flip test over "
            "speakers, corrected after Holm within each kind of region."
        )
    return sentences
