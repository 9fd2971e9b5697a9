"""CatalogLoraPairPicker: which LoRA pairs of the catalog a video uses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from ..catalog.pairs import ROLES, LoraPair
from ..catalog.stacks import Chosen, choose, parse_selection
from ..catalog.store import Store
from ._api import io
from .lora.files import LoraError, find_file, stamp
from .sampling.schedule import plan_for
from .sockets import DualPassPlan, LoraPairs, check_link


class CatalogLoraPairPicker(io.ComfyNode):
    """Pairs chosen by id; their files are looked up on this machine, never taken from a prompt."""

    # Set once by the extension, before the first schema is asked for.
    store: Store

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CatalogLoraPairPicker",
            display_name="LoRA Pairs (Catalog)",
            category="DualPass",
            description="Choose LoRA pairs for Wan 2.2. Each file goes to the expert it is for, "
            "and the plan says how many steps and which cfg the choice wants.",
            search_aliases=["wan 2.2 lora", "high noise low noise lora", "lightx2v", "svi"],
            inputs=[
                cls.base_model_input("The model that the pairs are for."),
                LoraPairs.Input(
                    "previous",
                    optional=True,
                    tooltip="Pairs of another picker; they come before the ones chosen here.",
                ),
                io.String.Input(
                    "pairs",
                    default="",
                    optional=True,
                    socketless=True,
                    tooltip="The chosen pairs as text: pair_id[@strength | @high:low], comma "
                    "separated. Empty means no LoRA.",
                ),
            ],
            outputs=[
                LoraPairs.Output("pairs", tooltip="For DualPass LoRA Router."),
                DualPassPlan.Output("plan", tooltip="For the sampler: steps, cfg, shift."),
            ],
        )

    @classmethod
    def base_model_input(cls, tooltip: str, optional: bool = False) -> Any:
        """The base models of the catalog to choose from."""
        options = list(cls.store.catalog().base_models)
        default = "wan-i2v-14b" if "wan-i2v-14b" in options else None
        return io.Combo.Input(
            "base_model", options=options, default=default, optional=optional, tooltip=tooltip
        )

    @classmethod
    def validate_inputs(cls, base_model: Any, pairs: Any = "") -> bool | str:
        """The reason why this choice can not run, before anything is loaded."""
        try:
            # A linked text is known when the node runs.
            chosen = cls.chosen(base_model, "" if pairs is None else pairs)
            plan_for(base_model, chosen)
            files_of(chosen)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(
        cls, base_model: str, pairs: str | None = "", previous: tuple[Chosen, ...] | None = None
    ) -> str:
        """Changes with the catalog and with each chosen file on disk."""
        # Of a linked text it is not known yet which files it names: all that are there count.
        known = cls.store.catalog().find_pairs(base_model)
        names = installed(known) if pairs is None else files_of(cls.chosen(base_model, pairs))
        seen = repr((cls.store.catalog().revision, base_model, pairs, [*map(stamp, names)]))
        return hashlib.sha256(seen.encode()).hexdigest()

    @classmethod
    def execute(
        cls, base_model: str, pairs: str = "", previous: tuple[Chosen, ...] = ()
    ) -> io.NodeOutput:
        check_link("previous", previous, tuple)
        chosen = (*previous, *cls.chosen(base_model, pairs))
        _check_chain(base_model, chosen)
        return io.NodeOutput(chosen, plan_for(base_model, chosen))

    @classmethod
    def chosen(cls, base_model: Any, pairs: Any) -> tuple[Chosen, ...]:
        """The pairs that a selection text names. Raises ValueError for what is no selection."""
        catalog = cls.store.catalog()
        if base_model not in catalog.base_models:
            known = ", ".join(catalog.base_models)
            raise ValueError(f"base_model is {base_model!r}; your catalog has {known}.")
        if not isinstance(pairs, str):
            raise ValueError(f"pairs must be text such as 'lightx2v-4step@1:0.8', not {pairs!r}.")
        return choose(parse_selection(pairs), catalog, base_model)


def files_of(chosen: Sequence[Chosen]) -> list[str]:
    """The file of each pair on each pass where it acts."""
    entries = [choice.entry_for(role) for choice in chosen for role in ROLES]
    return [find_file(entry) for entry in entries if entry]


def installed(pairs: Iterable[LoraPair]) -> list[str]:
    """Those files of pairs that are on this machine, each once."""
    names: dict[str, None] = {}
    for entry in (pair.entry_for(role) for pair in pairs for role in ROLES):
        with suppress(LoraError):
            if entry:
                names[find_file(entry)] = None
    return list(names)


def _check_chain(base_model: str, chosen: tuple[Chosen, ...]) -> None:
    seen: set[LoraPair] = set()
    for pair in (choice.pair for choice in chosen):
        if pair.base_model != base_model:
            raise ValueError(
                f"{pair.pair_id} from previous is for {pair.base_model}, this picker is set to "
                f"{base_model}. Set both pickers to the same base model."
            )
        if pair in seen:
            raise ValueError(f"{pair.pair_id} is chosen in two pickers of this chain. Keep one.")
        seen.add(pair)
