"""The extension: the list of nodes, the store they share, and the routes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import folder_paths
from server import PromptServer

from ..catalog.actions import add_actions
from ..catalog.jobs import Jobs
from ..catalog.routes import Shelf, add_routes
from ..catalog.store import Store
from ._api import ComfyExtension, io
from .clip_join import SVIProJoin
from .dual_sampler import SVIProDualSampler
from .long_video import SVIProLongVideo
from .lora.files import LORAS
from .lora_router import DualPassLoraRouter
from .pair_picker import CatalogLoraPairPicker
from .sampling.preview import preview
from .svi_conditioning import SVIProConditioning

# Seconds that ComfyUI's event loop may wait for a changed catalog to be read.
PATIENCE = 0.02


class DualPassExtension(ComfyExtension):
    async def on_load(self) -> None:
        shipped = Path(__file__).parent.parent / "catalog"
        user = Path(folder_paths.get_system_user_directory("dualpass"))
        store = Store(shipped, user, wait=PATIENCE)
        await asyncio.to_thread(store.read)
        CatalogLoraPairPicker.store = store
        shelf = Shelf(store, LORAS, user, Jobs(), preview)
        add_routes(PromptServer.instance.routes, shelf)
        add_actions(PromptServer.instance.routes, shelf)

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            CatalogLoraPairPicker,
            DualPassLoraRouter,
            SVIProDualSampler,
            SVIProLongVideo,
            SVIProConditioning,
            SVIProJoin,
        ]
