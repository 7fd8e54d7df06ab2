"""Areas of the cortex: a table of centres and radii, and which layer stands at which.

A layer stands at an area because a table says so: that is illustrative, never a finding.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heschl.brain.anatomy import HEMISPHERES, need_mne, quiet
from heschl.files import read_text
from heschl.types import HeschlError

if TYPE_CHECKING:
    pass

SHIPPED = Path(__file__).with_name("areas.yaml")
_KEYS = {"centre", "space", "radius", "hemisphere", "delay", "source", "note", "label", "mirror"}


@dataclass(frozen=True)
class Area:
    """A piece of cortex.

    Attributes
    ----------
    centre: metres in ``space`` ("MNI305" or "MNI152"); the patch is round the corner of the white mesh next to it.
    radius: metres along the cortex.
    hemisphere: "left" or "right".
    delay: seconds that its time course is put later.
    source, note: where its place comes from, and what a reader should know.
    label: an `mne.Label`, instead of centre and radius.
    """

    name: str
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    space: str = "MNI152"
    radius: float = 0.0
    hemisphere: str = "left"
    delay: float = 0.0
    source: str = ""
    note: str = ""
    label: Any = field(default=None, compare=False)


@dataclass(frozen=True)
class AreaTable:
    """Areas by name, and where a network's layers stand.

    Attributes
    ----------
    stream: areas from early to late, for networks that ``layers`` does not name.
    layers: network -> layer -> area.
    """

    areas: Mapping[str, Area]
    stream: tuple[str, ...] = ()
    layers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def area(self, name: str) -> Area:
        if name not in self.areas:
            near = get_close_matches(name, list(self.areas), 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise HeschlError(f"there is no area {name}{hint}: the table has {', '.join(self.areas)}")
        return self.areas[name]


def read_areas(areas: Any = None) -> AreaTable:
    """A table of areas.

    Parameters
    ----------
    areas: None or "default" for the shipped table; the path of a YAML file like it (its areas are laid over the
        shipped ones, the same name replaces; a ``stream`` of its own takes the place of the shipped table's layers); a table.

    Raises
    ------
    HeschlError: the file is missing, or an entry is not fit: it is named.
    """
    if isinstance(areas, AreaTable):
        return areas
    shipped = _shipped()
    if areas is None or areas == "default":
        return shipped
    own = _read(Path(areas).expanduser(), shipped.areas)
    layers = own.layers if own.stream else {**own.layers, **_others(shipped.layers, own.layers)}
    return AreaTable({**shipped.areas, **own.areas}, own.stream or shipped.stream, layers)


def _others(layers: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    return {network: places for network, places in layers.items() if network not in known}


@functools.cache
def _shipped() -> AreaTable:
    return _read(SHIPPED, {})


def assign(layers: Sequence[str], areas: Any = None) -> tuple[AreaTable, dict[str, tuple[str, ...]]]:
    """Which areas each layer is put at.

    Parameters
    ----------
    layers: the network's areas, from early to late.
    areas: as in `read_areas`; or a mapping of layer -> area, list of areas, `Area`, `mne.Label` or .label file, in
        which layers that are not named keep their default.

    Returns
    -------
    The table, with areas that were given on the way; and layer -> names of areas. By default that network of the table
    decides which has all of these layers and the fewest others, one's own before a shipped one; else a layer that is
    called as an area is put there; else the order of the layers does, an equal share of them for each area of the stream.
    """
    if not isinstance(areas, Mapping):
        table = read_areas(areas)
        return table, {layer: (_default(layer, layers, table),) for layer in layers}
    table, extra = read_areas(), dict[str, Area]()
    chosen: dict[str, tuple[str, ...]] = {layer: (_default(layer, layers, table),) for layer in layers}
    for layer, given in areas.items():
        if layer not in chosen:
            raise HeschlError(f"there is no layer {layer}: the network's are {', '.join(layers)}")
        many = given if isinstance(given, list | tuple) else [given]
        names = []
        for one in many:
            found = _given(one, table)
            extra[found.name] = found
            names.append(found.name)
        chosen[layer] = tuple(names)
    return replace(table, areas={**table.areas, **extra}), chosen


# --- tables ------------------------------------------------------------------------------------------------


def _default(layer: str, layers: Sequence[str], table: AreaTable) -> str:
    fitting = [named for named in table.layers.values() if set(layers) <= set(named)]
    if fitting:  # AlexNet's layers are among AudioNet-V1's: of equals the first, which is one's own
        return table.area(min(fitting, key=len)[layer]).name
    if layer in table.areas:
        return layer
    if not table.stream:
        raise HeschlError(f"layer {layer} has no area: name one in the table's `layers`")
    return table.area(table.stream[list(layers).index(layer) * len(table.stream) // len(layers)]).name


def _given(one: Any, table: AreaTable) -> Area:
    if isinstance(one, Area):
        return one
    if isinstance(one, Path) or (isinstance(one, str) and one.endswith(".label")):
        return _labelled(Path(one).name.removesuffix(".label"), Path(one))
    if isinstance(one, str):
        return table.area(one)
    if hasattr(one, "vertices") and hasattr(one, "hemi"):
        return _of_label(str(one.name), one)
    raise HeschlError(
        f"an area is given as {type(one).__name__}: give its name, a .label file or an mne.Label"
    )


def _labelled(name: str, path: Path) -> Area:
    mne = need_mne("reading a label")
    if not path.exists():
        raise HeschlError(f"{path}, the label of area {name}, is not there: check its path")
    try:
        with quiet():
            return _of_label(name, mne.read_label(path, subject="fsaverage"))
    except (ValueError, IndexError, RuntimeError) as error:
        raise HeschlError(f"{path} is not a FreeSurfer label of lh or rh: {error}") from None


def _of_label(name: str, label: Any) -> Area:
    side = HEMISPHERES[label.hemi == "rh"]
    return Area(name, hemisphere=side, source=str(getattr(label, "filename", "") or "label"), label=label)


def _read(path: Path, known: Mapping[str, Area]) -> AreaTable:
    import yaml

    try:
        raw = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise HeschlError(f"{path} is not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(raw, dict) or not isinstance(raw.get("areas"), dict):
        raise HeschlError(f"{path} has no `areas`: copy the shipped table and change it")
    if raw.get("format", 1) != 1:
        raise HeschlError(f"{path} is of format {raw['format']}, and this heschl reads format 1: update it")
    strange = set(raw) - {"format", "areas", "stream", "layers"}
    if strange:
        raise HeschlError(f"{path} has an entry `{min(strange)}`: it may have areas, stream and layers")
    areas: dict[str, Area] = {}
    for name, entry in raw["areas"].items():
        areas[str(name)] = _area(str(name), entry, {**known, **areas}, path)
    stream, layers = raw.get("stream") or [], raw.get("layers") or {}
    if not isinstance(stream, list):
        raise HeschlError(f"the stream of {path} is {stream}: give a list of areas, the earliest first")
    if not isinstance(layers, dict) or not all(isinstance(one, dict) for one in layers.values()):
        raise HeschlError(
            f"the layers of {path} are no table: give {{network: {{layer: area}}}}, as the shipped one does"
        )
    table = AreaTable(areas, tuple(stream), layers)
    both = replace(table, areas={**known, **areas})
    for name in [*table.stream, *(a for named in table.layers.values() for a in named.values())]:
        both.area(name)
    return table


def _area(name: str, entry: Any, known: Mapping[str, Area], path: Path) -> Area:
    at = f"area {name} of {path}"
    if not isinstance(entry, dict):
        raise HeschlError(f"{at} is not a mapping: give centre, space, radius and hemisphere")
    for key in entry:
        if key not in _KEYS:
            near = get_close_matches(str(key), _KEYS, 1)
            raise HeschlError(
                f"{at} has an entry `{key}`{f': did you mean {near[0]}?' if near else ', which is none'}"
            )
    told: dict[str, Any] = {key: str(entry[key]) for key in ("source", "note") if key in entry}
    delay = _number(entry.get("delay", 0), f"the delay of {at}", "seconds")
    if "mirror" in entry:
        if entry["mirror"] not in known:
            raise HeschlError(f"{at} mirrors {entry['mirror']}, which is not named before it")
        return replace(mirrored(known[entry["mirror"]]), name=name, **told)
    if "label" in entry:
        return replace(_labelled(name, path.parent / str(entry["label"])), delay=delay, **told)
    centre, radius = entry.get("centre"), entry.get("radius")
    if not isinstance(centre, list) or len(centre) != 3:
        raise HeschlError(f"the centre of {at} is {centre}: give [x, y, z] in mm")
    xyz = [_number(one, f"the centre of {at}", "mm") for one in centre]
    radius = _number(radius, f"the radius of {at}", "mm")
    if max(map(abs, xyz)) < 1 or not 0 < radius <= 100:
        raise HeschlError(
            f"{at} has centre {centre} and radius {radius}: give them in mm, the radius up to 100"
        )
    space, side = entry.get("space"), entry.get("hemisphere", HEMISPHERES[xyz[0] > 0])
    if space not in ("MNI305", "MNI152"):
        raise HeschlError(f"the space of {at} is {space}: choose MNI305 or MNI152")
    if side not in HEMISPHERES:
        raise HeschlError(f"the hemisphere of {at} is {side}: choose left or right")
    x, y, z = (one / 1000 for one in xyz)
    return Area(name, (x, y, z), space, radius / 1000, side, delay, **told)


def mirrored(area: Area) -> Area:
    """The same area in the other hemisphere."""
    if area.label is not None:
        raise HeschlError(
            f"area {area.name} is a label, which has no mirror: give the other hemisphere's label"
        )
    x, y, z = area.centre
    other = HEMISPHERES[1 - HEMISPHERES.index(area.hemisphere)]
    return replace(
        area, centre=(-x, y, z), hemisphere=other, note=f"Mirror of {area.name}. {area.note}".strip()
    )


def _number(value: Any, what: str, unit: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise HeschlError(f"{what} is {value}: give a number in {unit}")
    return float(value)
