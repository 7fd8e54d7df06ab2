"""The table of areas, and where layers stand by default."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import pytest
import yaml

import heschl.models
from heschl.brain.areas import assign, mirrored, read_areas
from heschl.types import HeschlError

GOOD = "areas:\n  A1: {centre: [-43, -21, 8], space: MNI152, radius: 9, hemisphere: left, delay: 0.02}\n"


def networks() -> dict[str, tuple[str, ...]]:
    """Every shipped network with areas that are in its class (others name them when they are made)."""
    found = {}
    for module in pkgutil.iter_modules(heschl.models.__path__):
        for name, one in vars(importlib.import_module(f"heschl.models.{module.name}")).items():
            if isinstance(one, type) and one.__module__.endswith(module.name) and getattr(one, "areas", None):
                found[f"{module.name}.{name}"] = tuple(one.areas)
    return found


def test_the_shipped_table_is_whole() -> None:
    table = read_areas()
    assert {"STG", "TP", "TPJ", "IFG", "HG"} <= set(table.areas)
    for name, area in table.areas.items():
        assert area.source
        assert area.delay == 0
        assert (area.centre[0] < 0) == (area.hemisphere == "left") == (not name.endswith("-R"))
        assert 0.005 <= area.radius <= 0.02
    assert table.areas["STG-R"].centre == (0.06, -0.02, 0.002)
    assert mirrored(table.areas["STG-R"]).centre == table.areas["STG"].centre


@pytest.mark.parametrize("network", networks())
def test_every_shipped_network_runs_along_the_ventral_stream(network: str) -> None:
    layers = networks()[network]
    table, chosen = assign(layers)
    depth = [table.stream.index(chosen[layer][0]) for layer in layers]
    assert depth == sorted(depth)
    assert depth[0] == 0
    assert set(chosen) == set(layers)


def test_the_crnn_keeps_its_own_names_and_a_stranger_goes_by_order() -> None:
    assert assign(["STG", "TP", "IFG"])[1] == {"STG": ("STG",), "TP": ("TP",), "IFG": ("IFG",)}
    assert assign(["STG", "TP", "IFG"], {"TP": "TPJ"})[1]["TP"] == ("TPJ",)
    assert assign(["a", "b", "c", "d"])[1] == {"a": ("STG",), "b": ("STG",), "c": ("TP",), "d": ("IFG",)}
    assert assign(["fc7"])[1] == {"fc7": ("IFG",)}
    assert assign(["a", "HG"], {"a": ["HG", "HG-R"]})[1] == {"a": ("HG", "HG-R"), "HG": ("HG",)}


def write_yaml(path: Path, table: dict) -> None:
    path.write_text(yaml.safe_dump({"format": 1, **table}), encoding="utf-8")


def test_a_table_of_ones_own_lies_over_the_shipped_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD + "  A1-R: {mirror: A1}\nstream: [A1, STG]\nlayers:\n  mine: {x: IFG, y: A1-R}\n")
    table, chosen = assign(["one", "two"], path)
    assert chosen == {"one": ("A1",), "two": ("STG",)}
    assert (table.areas["A1"].radius, table.areas["A1"].delay) == (0.009, 0.02)
    assert table.areas["A1-R"].centre[0] == 0.043
    assert assign(["x", "y"], path)[1] == {"x": ("IFG",), "y": ("A1-R",)}
    # of a network that the shipped table names as well
    assert assign(["stem", "early", "late"], path)[1]["late"] == ("STG",)
    assert assign(["stem", "early", "late"])[1]["late"] == ("IFG",)


def test_what_one_s_own_table_says_of_a_network_counts_whatever_the_shipped_one_says_of_others(
    tmp_path: Path,
) -> None:
    """AlexNet's layers are among those of AudioNet-V1, which stand elsewhere."""
    shipped = read_areas()
    layers = list(shipped.layers["alexnet.AlexNet"])
    mine = dict.fromkeys(layers, "HG")
    path = tmp_path / "mine.yaml"
    for name in ("alexnet.AlexNet", "my_networks.Mine"):
        write_yaml(path, {"areas": {}, "layers": {name: mine}})
        assert assign(layers, path)[1] == dict.fromkeys(layers, ("HG",))
        assert assign(layers[:2], path)[1] == dict.fromkeys(layers[:2], ("HG",))
    # the whole table copied, with its stream, and one network changed
    write_yaml(
        path, {"areas": {}, "stream": ["STG", "IFG"], "layers": {**shipped.layers, "alexnet.AlexNet": mine}}
    )
    assert assign(layers, path)[1] == dict.fromkeys(layers, ("HG",))
    of_v1 = shipped.layers["audionet_v1.AudioNetV1"]
    assert assign(list(of_v1), path)[1] == {layer: (area,) for layer, area in of_v1.items()}


def test_every_network_of_the_shipped_table_stands_where_it_says() -> None:
    for named in read_areas().layers.values():
        assert assign(list(named))[1] == {layer: (area,) for layer, area in named.items()}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("areas: [", "not YAML"),
        ("format: 2\n" + GOOD, "format 2"),
        ("regions: {}", "has no `areas`"),
        ("wrong: 1\n" + GOOD, "entry `wrong`"),
        (GOOD.replace("radius", "radios"), "did you mean radius"),
        (GOOD.replace("MNI152", "Talairach"), "space of area A1"),
        (GOOD.replace("[-43, -21, 8]", "[-43, -21]"), "centre of area A1"),
        (GOOD.replace("[-43, -21, 8]", "[-0.043, -0.021, 0.008]"), "in mm"),
        (GOOD.replace("radius: 9", "radius: big"), "radius of area A1"),
        (GOOD.replace("left", "port"), "hemisphere of area A1"),
        (GOOD + "  B: {mirror: C}\n", "mirrors C"),
        (GOOD + "  B: {label: lh.none.label}\n", "lh.none.label"),
        (GOOD + "stream: [STQ]\n", "no area STQ .did you mean STG"),
        (GOOD + "stream: STG\n", "the stream of .* is STG"),
        (GOOD + "layers: {STG: [one]}\n", "are no table"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "areas.yaml"
    path.write_text(text)
    with pytest.raises(HeschlError, match=said):
        assign(["a"], path)


def test_layers_and_areas_that_are_not_there() -> None:
    with pytest.raises(HeschlError, match="no layer LSTM"):
        assign(["STG"], {"LSTM": "STG"})
    with pytest.raises(HeschlError, match="no area Wernicke"):
        assign(["STG"], {"STG": "Wernicke"})
    with pytest.raises(HeschlError, match="given as int"):
        assign(["STG"], {"STG": 3})
    with pytest.raises(HeschlError, match="is not there"):
        assign(["STG"], "no/areas.yaml")


@pytest.mark.slow
def test_freesurfer_labels_beside_the_table(tmp_path: Path) -> None:
    mne = pytest.importorskip("mne")
    own = mne.Label([5, 7, 9], pos=[[0, 0, 0]] * 3, hemi="rh", name="A1-rh", subject="fsaverage")
    own.save(tmp_path / "rh.A1.label")
    (tmp_path / "mine.yaml").write_text("areas:\n  A1: {label: rh.A1.label, delay: 0.01, note: traced}\n")
    table, _ = assign(["A1"], tmp_path / "mine.yaml")
    area = table.areas["A1"]
    assert (area.hemisphere, area.delay, area.note) == ("right", 0.01, "traced")
    assert list(area.label.vertices) == [5, 7, 9]
    table, chosen = assign(["x"], {"x": tmp_path / "rh.A1.label"})
    assert list(table.areas[chosen["x"][0]].label.vertices) == [5, 7, 9]
    assert assign(["x"], {"x": own})[1] == {"x": ("A1-rh",)}
    (tmp_path / "rh.bad.label").write_text("no label")
    with pytest.raises(HeschlError, match=r"rh.bad.label is not a FreeSurfer label"):
        assign(["x"], {"x": tmp_path / "rh.bad.label"})
