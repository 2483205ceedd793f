"""The engines by name, in the order of the tables: Conveyor, its peers, and the limits."""

from __future__ import annotations

from .aiometer import Aiometer
from .aiostream import Aiostream
from .anyio_amap import AnyioAmap
from .bare import BareLoop, BareTasks
from .base import Engine
from .by_hand import ByHand
from .conveyor import Conveyor
from .conveyor_streaming import ConveyorStreaming
from .pypeln import Pypeln
from .pyper import Pyper
from .streamable import Streamable

__all__ = (
    "ENGINES",
    "LIMITS",
    "PEERS",
    "BareLoop",
    "BareTasks",
    "ByHand",
    "ConveyorStreaming",
    "Engine",
)

ENGINES: dict[str, type[Engine]] = {
    engine.name: engine
    for engine in (
        Conveyor,
        ConveyorStreaming,
        Aiometer,
        Aiostream,
        AnyioAmap,
        ByHand,
        Pypeln,
        Pyper,
        Streamable,
        BareLoop,
        BareTasks,
    )
}
LIMITS = (BareLoop.name, BareTasks.name)
PEERS = tuple(name for name in ENGINES if name != Conveyor.name and name not in LIMITS)
