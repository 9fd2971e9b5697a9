"""The extension: the list of nodes, the store they share, and the routes."""

from __future__ import annotations

from pathlib import Path

import folder_paths
from server import PromptServer

from ..catalog.routes import add_routes
from ..catalog.store import Store
from ._api import ComfyExtension, io
from .dual_sampler import SVIProDualSampler
from .lora_router import DualPassLoraRouter
from .pair_picker import CatalogLoraPairPicker


class DualPassExtension(ComfyExtension):
    async def on_load(self) -> None:
        shipped = Path(__file__).parent.parent / "catalog"
        store = Store(shipped, Path(folder_paths.get_system_user_directory("dualpass")))
        CatalogLoraPairPicker.store = store
        add_routes(PromptServer.instance.routes, store)

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [CatalogLoraPairPicker, DualPassLoraRouter, SVIProDualSampler]
