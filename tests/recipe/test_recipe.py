"""Recipes: what is taken, what is refused, and that every refusal is one sentence that names the mend."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from heschl.recipe import Recipe, load, parse_overrides, run_name, shipped
from heschl.recipe.parts import build, find_part
from heschl.recipe.plain import nearest, parse_value, read_yaml, write_yaml
from heschl.types import HeschlError

BASE: dict[str, Any] = {
    "format": 1,
    "name": "words",
    "corpus": {"use": "words", "root": "data"},
    "split": {"use": "fractions"},
    "feature": {"use": "mel.LogMel"},
    "model": {"use": "crnn.CRNN"},
    "task": {"use": "classify.Classify", "label": "word"},
    "train": {"epochs": 3},
}


def refusal(source: Any, overrides: dict[str, Any] | None = None, **options: Any) -> str:
    with pytest.raises(HeschlError) as caught:
        load(source, overrides, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_recipe_and_its_defaults() -> None:
    recipe = load(BASE)
    assert recipe.train.optimiser.use == "AdamW" and recipe.train.optimiser.args == {"lr": 1e-3}
    assert recipe.corpus.args == {"root": "data"}
    assert recipe.machine.device == "auto"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"train.epoch": 3}, ["train.epoch", "train.epochs"]),
        ({"trian.epochs": 3}, ["trian", "train"]),
        ({"train.epochs": "3"}, ["train.epochs", "whole number"]),
        ({"train.batch": True}, ["train.batch", "whole number"]),
        ({"train.batch": 0}, ["train.batch"]),
        ({"train.steps": 3}, ["either `epochs` or `steps`"]),
        ({"train.precision": "half"}, ["train.precision", "bf16-mixed"]),
        ({"name": "a b"}, ["name"]),
        ({"name": "../up"}, ["name"]),
        ({"seed": -1}, ["seed"]),
        ({"format": 2}, ["format 2", "update heschl"]),
        ({"model.use": "crnn.CRN"}, ["crnn.CRN", "crnn.CRNN"]),
        ({"model.use": "crn.CRNN"}, ["crn.CRNN", "crnn.CRNN"]),
        ({"model.hiden": 3}, ["hiden", "hidden_"]),
        ({"model.n_outputs": 3}, ["n_outputs", "data"]),
        ({"model.in_shape": [1, 2]}, ["in_shape", "data"]),
        ({"model.hidden_1": "many"}, ["hidden_1", "many"]),
        ({"corpus.use": "wrods"}, ["wrods", "words"]),
        ({"corpus": {"use": "words"}}, ["root"]),
        ({"split.use": "fraction"}, ["fractions"]),
        ({"split.validaton": 0.1}, ["validaton", "validation"]),
        ({"task.label": None}, ["label"]),
        ({"task.labels": [1, 2]}, ["labels", "text in quotes, '1'"]),
        ({"augment": [{"use": "augment.Shfit"}]}, ["Shfit", "Shift"]),
        ({"augment": [{"use": "augment.Shift", "seconds": 0.1, "sample_rate": 8000}]}, ["sample_rate"]),
        ({"augment": "augment.Shift"}, ["augment", "a list"]),
        ({"train.optimiser": {"use": "Adm", "lr": 0.1}}, ["Adm", "Adam"]),
        ({"train.schedule": {"use": "cosin"}}, ["cosin", "cosine"]),
        ({"train.early_stopping": {"patience": 2, "delta": 1}}, ["delta", "min_delta"]),
        ({"train.epochs.x": 2}, ["below", "epochs"]),
        ({"augment.3.p": 2}, ["augment.3.p", "0 entries"]),
        ({"feature": None}, ["feature"]),
        ({"clip.long": "middle"}, ["clip.long", "centre"]),
        ({"brain.area": "mine.yaml"}, ["brain.area", "areas"]),
        ({"corpus.speech": "loudness"}, ["choose among Wav2Vec2Speech, energy"]),
    ],
)
def test_what_is_wrong_is_named_with_its_mend(overrides: dict[str, Any], words: list[str]) -> None:
    source = {**BASE, "augment": []}
    text = refusal(source, overrides)
    for word in words:
        assert word in text, text


def test_overrides_reach_everything() -> None:
    source = {**BASE, "augment": [{"use": "augment.Shift", "seconds": 0.1}]}
    texts = [
        "train.epochs=7",
        "augment.0.seconds=0.2",
        "model={use: crnn.CRNN, hidden_1: 64}",
        "about.what=yes",
        "name=x",
    ]
    recipe = load(source, parse_overrides(texts))
    assert recipe.train.epochs == 7
    assert recipe.augment[0].args == {"seconds": 0.2}
    assert recipe.model.args == {"hidden_1": 64}
    assert recipe.about.what == "yes"
    assert load(BASE, {"train.early_stopping": 4}).train.early_stopping.patience == 4  # type: ignore[union-attr]
    with pytest.raises(HeschlError, match="key=value"):
        parse_overrides(["train.epochs"])


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("takes #2/table.csv", "takes #2/table.csv"),
        ("it's #1", "it's #1"),
        ("takes#2", "takes#2"),
        ("'takes #2'", "takes #2"),
        ("{root: 'takes #2'}", {"root": "takes #2"}),
        ("3", 3),
    ],
)
def test_a_folder_whose_name_holds_a_hash_is_not_cut_off_at_it(value: str, found: object) -> None:
    assert parse_overrides([f"corpus.root={value}"]) == {"corpus.root": found}


def test_a_recipe_given_as_a_mapping_is_not_changed_by_overrides() -> None:
    before = json.dumps(BASE)
    load(BASE, {"train.epochs": 9, "model.hidden_1": 8})
    assert json.dumps(BASE) == before


# --- what names the run --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "same"),
    [
        ({"machine.workers": 3, "machine.device": "cpu"}, True),
        ({"about.what": "else"}, True),
        ({"brain.areas": "default"}, True),
        ({"corpus.root": "elsewhere"}, True),
        ({"model.use": "heschl.models.crnn.CRNN"}, True),
        ({"train.batch": 32}, True),  # the default, written out
        ({"seed": 1}, False),
        ({"clip.seconds": 2.0}, False),
        ({"model.hidden_1": 8}, False),
        ({"train.epochs": 4}, False),
        ({"augment": [{"use": "augment.Gain"}]}, False),
        ({"task.label": "speaker"}, False),
    ],
)
def test_the_name_belongs_to_the_experiment_alone(overrides: dict[str, Any], same: bool) -> None:
    name = run_name(load(BASE), "corpus")
    assert (run_name(load(BASE, overrides), "corpus") == name) is same
    assert run_name(load(BASE), "other corpus") != name
    assert run_name(load(BASE), "corpus", "weights") != name
    assert name.startswith("words-")


def test_shares_of_further_corpora_belong_to_the_name() -> None:
    def name(*shares: float | None) -> str:
        also = [{"use": "spoken", "kind": "word", "speech": "energy", "share": share} for share in shares]
        return run_name(load(BASE, {"also": also}), "corpus and further ones")

    assert len({name(0.2), name(0.4), name(None), name(0.2, 0.4), name(0.4, 0.2)}) == 5
    assert name(None) == name(None, None) == run_name(load(BASE), "corpus and further ones")


def test_a_written_recipe_is_the_same_recipe(tmp_path: Path) -> None:
    recipe = load(
        BASE, {"task.labels": ["no", "yes", "on", "01", "1e3"], "train.optimiser": {"use": "SGD", "lr": 1e-9}}
    )
    write_yaml(tmp_path / "a.yaml", recipe.model_dump(mode="json", exclude_defaults=True))
    again = load(tmp_path / "a.yaml")
    assert again.model_dump() == recipe.model_dump()
    assert run_name(again, "x") == run_name(recipe, "x")


# --- YAML ----------------------------------------------------------------------------------------------


def test_words_stay_words() -> None:
    text = "[yes, no, on, off, 01, 1:30, 2020-01-01, 1_0, 3, -2, 1e-3, 0.5, true, null, ~]"
    expected = ["yes", "no", "on", "off", "01", "1:30", "2020-01-01", 10, 3, -2, 1e-3, 0.5, True, None, None]
    assert parse_value(text, "it") == expected


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: 1\na: 2", "second time"),
        ("a: &x [1]\nb: *x", "alias"),
        ("a: !!python/object/apply:os.system [echo]", "tag"),
        ("a: !new x", "tag"),
        ("? [a]\n: b", "not a name"),
        ("a: [", "line"),
        ("a: .nan", "finite"),
        ("a: .inf", "finite"),
        ("[" * 1000, "levels"),
        ("a: " + "x" * 300_000, "characters"),
        ("- a", "mapping"),
        ("", "empty"),
        ("a\x00b", "YAML"),
        ("<<: {a: 1}\nb: 2", ""),
    ],
)
def test_yaml_that_is_no_recipe(text: str, word: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    assert word in refusal(path, check_parts=False)


def test_a_yaml_bomb_is_refused_before_it_grows(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"{chr(98 + k)}: &{chr(98 + k)} [{', '.join(['*' + chr(97 + k)] * 10)}]" for k in range(9)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    assert "alias" in refusal(path)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    assert "is not there" in refusal(tmp_path / "none.yaml")
    (tmp_path / "recipe.yaml").write_text("format: 1\n", encoding="utf-8")
    assert f"is a run: name its recipe, {tmp_path / 'recipe.yaml'}" in refusal(tmp_path)
    assert "heschl recipes" in refusal("no-such-recipe")


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1, max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=8), plain, max_size=5))
def test_what_is_written_reads_back_the_same(value: dict[str, Any]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "v.yaml"
        write_yaml(path, value)
        if value:
            assert read_yaml(path) == value


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_value_or_a_sentence(text: str) -> None:
    try:
        parse_value(text, "it")
    except HeschlError as error:
        assert "\n" not in str(error)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from([*BASE, "clip", "machine", "also", "oops"]), plain, max_size=4))
def test_any_mapping_is_a_recipe_or_a_sentence(changes: dict[str, Any]) -> None:
    try:
        assert isinstance(load({**BASE, **changes}, check_parts=False), Recipe)
    except HeschlError as error:
        assert "\n" not in str(error)


def test_plain_values_are_read_as_yaml_has_them() -> None:
    """Against PyYAML itself, where YAML 1.1 and 1.2 agree."""
    text = "a: 1\nb: [1.5, x, 'y z', \"q\"]\nc: {d: null, e: true}\nf: |\n  two\n  lines\n"
    assert parse_value(text, "it") == yaml.safe_load(text)


# --- parts ---------------------------------------------------------------------------------------------


def test_parts_of_the_recipes_own_folder(tmp_path: Path) -> None:
    (tmp_path / "mine_of_test.py").write_text(
        "from torch import nn\nclass Net(nn.Module):\n    def __init__(self, in_shape, n_outputs, depth: int = 1): ...\n",
        encoding="utf-8",
    )
    write_yaml(tmp_path / "r.yaml", {**BASE, "model": {"use": "mine_of_test.Net", "depth": 2}})
    path_before = list(sys.path)
    assert load(tmp_path / "r.yaml").model.args == {"depth": 2}
    assert sys.path == path_before
    assert "depth" in refusal(tmp_path / "r.yaml", {"model.deph": 1})
    assert "only heschl's own" in refusal(tmp_path / "r.yaml", trusted_only=True)


@pytest.mark.parametrize(
    "use", ["os.system", "subprocess.call", "heschl.files.write_text", "heschl.models.crnn.os.system"]
)
def test_strangers_recipes_name_nothing_but_heschls_parts(use: str) -> None:
    refusal(BASE, {"model": {"use": use}}, trusted_only=True)
    assert find_part("crnn.CRNN", "model", trusted_only=True)
    assert find_part("AdamW", "optimiser", trusted_only=True)


def test_a_part_whose_module_breaks_says_so(tmp_path: Path) -> None:
    (tmp_path / "broken_of_test.py").write_text("import no_such_package_of_test\n", encoding="utf-8")
    write_yaml(tmp_path / "r.yaml", {**BASE, "model": {"use": "broken_of_test.Net"}})
    assert "no_such_package_of_test" in refusal(tmp_path / "r.yaml")


def test_build_fills_in_what_the_signature_asks_for() -> None:
    recipe = load(BASE, {"augment": [{"use": "augment.Shift", "seconds": 0.5}, {"use": "augment.Gain"}]})
    shift, gain = (build(part, "augment", fill={"sample_rate": 100}) for part in recipe.augment)
    assert shift.samples == 50 and gain is not None


@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_recipes_are_right(name: str) -> None:
    recipe = load(name)
    assert recipe.name == name and recipe.about.what and recipe.about.data


def test_reading_a_recipe_loads_no_torch() -> None:
    code = (
        f"import sys, heschl, heschl.recipe as r; r.load({BASE!r}, check_parts=False);"
        "assert not {'torch', 'numpy', 'lightning', 'pandas', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ})


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("model.width", -3, "model: kws.KWS cannot be made with width -3"),
        ("train.optimiser.lr", -1.0, "optimiser: .*AdamW cannot be made with lr -1.0"),
        ("feature.n_mels", 0, "^feature: LogMel.n_mels is 0: it needs one filter or more$"),
        (
            "split.validation",
            1.5,
            "^split: validation 1.5 and test 0.25? must not be negative and must leave something",
        ),
    ],
)
def test_a_value_that_a_part_cannot_take_is_a_sentence_and_writes_nothing(tmp_path, key, value, words):
    from heschl.training.fit import train

    with pytest.raises(HeschlError, match=words):
        train("kws-small", {key: value, "corpus.voices": 6}, runs=tmp_path, quiet=True)
    assert not list(tmp_path.iterdir())


def test_what_is_known_is_cut_with_a_word() -> None:
    assert nearest("zzz", "abcdefghijkl") == ": choose among a, b, c, d, e, f, g, h, i, j, k, l"
    assert nearest("zzz", "abcdefghijklmn").endswith("k, l and 2 more")
