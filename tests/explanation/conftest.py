"""The oracle and the networks that it knows are modules beside the tests; under importlib mode they need a hand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

for _name in ("lrp_oracle", "lrp_networks", "lrp_helpers", "lrp_whole"):
    if _name not in sys.modules:
        _spec = importlib.util.spec_from_file_location(_name, Path(__file__).with_name(f"{_name}.py"))
        assert _spec is not None and _spec.loader is not None
        sys.modules[_name] = importlib.util.module_from_spec(_spec)
        _spec.loader.exec_module(sys.modules[_name])
