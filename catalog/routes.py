"""The route that tells which LoRA pairs fit a base model."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING

from .fields import is_id
from .store import Catalog, Store

if TYPE_CHECKING:
    from aiohttp import web

_headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_refusal = (
    b'{"error": {"code": "BASE_MODEL", "message": "A base model id is 1 to 128 letters, digits '
    b'or . _ + - and begins with a letter or digit."}}'
)


def add_routes(table: web.RouteTableDef, store: Store) -> None:
    """Register the route. It answers 200 with a list, empty for an unknown base model, or 400.

    ComfyUI adds the same path below /api by itself.
    """
    from aiohttp import web

    @table.get("/admin/loras/compatible/{base_model}")
    async def compatible(request: web.Request) -> web.Response:
        base_model = request.match_info["base_model"]
        valid = is_id(base_model)
        return web.Response(
            status=200 if valid else 400,
            body=_bodies(store.catalog()).get(base_model, b"[]") if valid else _refusal,
            content_type="application/json",
            headers=_headers,
        )


@lru_cache(maxsize=1)
def _bodies(catalog: Catalog) -> dict[str, bytes]:
    """The answer for each base model of a snapshot, made once."""
    return {
        base_model: json.dumps([pair.as_json() for pair in pairs], allow_nan=False).encode()
        for base_model, pairs in catalog.pairs.items()
    }
