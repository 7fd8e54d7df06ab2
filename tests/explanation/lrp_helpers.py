"""What several tests of lrp use."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
import torch
from lrp_networks import OTHERS, STACKED, WEIGHTED, build
from torch import nn

import heschl.models
from heschl.explanation.lrp import lrp
from heschl.types import HeschlError

NETWORKS = WEIGHTED | OTHERS | STACKED


def net_and_clips(clips=4, name="waveform network", **options):
    network, x = build(STACKED[name], clips=clips, **options)
    return network, x, torch.arange(clips) % 3


class Calls(nn.Module):
    """A network of one function between two dense layers."""

    def __init__(self, function):
        super().__init__()
        self.into, self.out, self.function = nn.Linear(4, 4), nn.Linear(4, 3), function
        self.double().eval()

    def forward(self, x):
        return self.out(self.function(self.into(x)))


def calls_like(network, function):
    other = Calls(function)
    other.load_state_dict(network.state_dict())
    return other


def refused(match, *args, **options):
    with pytest.raises(HeschlError, match=match) as caught:
        lrp(*args, **options)
    assert "\n" not in str(caught.value)


def shipped():
    """Every network that comes along, with an example of its sizes."""
    for info in pkgutil.iter_modules(heschl.models.__path__):
        module = importlib.import_module(f"heschl.models.{info.name}")
        for name, kind in vars(module).items():
            if isinstance(kind, type) and issubclass(kind, nn.Module) and kind.__module__ == module.__name__:
                if hasattr(kind, "example"):
                    yield pytest.param(kind, kind.example, id=name)
                elif name in ("KWS", "FrameGRU"):
                    yield pytest.param(kind, ((40, 60), 12), id=name)
