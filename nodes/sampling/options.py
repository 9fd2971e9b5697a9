"""Model options that a sampler adds to, carried from the expert it got them from to another."""

from __future__ import annotations

from typing import Any


def carried_over(
    called: dict[str, Any], given: dict[str, Any], own: dict[str, Any]
) -> dict[str, Any]:
    """`own` model options plus what the sampler added (`called`) to those it was `given`.

    Samplers such as euler_cfg_pp put a function of their own into the options of each call.
    """
    if own is given:
        return called
    merged = dict(own)
    for key, value in called.items():
        before = given.get(key)
        if value is before:
            continue
        if isinstance(value, dict):
            merged[key] = carried_over(value, before or {}, own.get(key, {}))
        elif isinstance(value, list):
            added = [item for item in value if not any(item is old for old in before or [])]
            merged[key] = own.get(key, []) + added
        else:
            merged[key] = value
    return merged
