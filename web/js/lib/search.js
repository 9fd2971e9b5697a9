// The search field, the switch that leaves the chosen pairs only, and the button of the presets.

import { make } from "./page.js";
import { t } from "./texts.js";

/**
 * The line on top of the picker.
 * @param {(search: string, chosenOnly: boolean) => void} filter
 * @param {() => void} togglePanel
 * @returns {object} its element, field and menu, and count(found, total, chosen)
 */
export function searchLine(filter, togglePanel) {
  const field = make("input", { type: "search", placeholder: t("search_hint"), spellcheck: false });
  const found = make("span", { className: "dualpass-found dualpass-dim", ariaLive: "polite" });
  const chosen = make("button", { type: "button", className: "dualpass-chosen" });
  const menu = make("button", { type: "button", title: t("menu_title") }, t("menu"));
  const element = make("div", { className: "dualpass-top" }, field, found, chosen, menu);
  let chosenOnly = false;

  const changed = () => {
    chosen.ariaPressed = `${chosenOnly}`;
    filter(field.value, chosenOnly);
  };
  field.ariaLabel = t("search");
  field.addEventListener("input", changed);
  chosen.addEventListener("click", () => {
    chosenOnly = !chosenOnly;
    changed();
  });
  menu.ariaExpanded = "false";
  menu.addEventListener("click", togglePanel);
  chosen.ariaPressed = "false";

  const count = (left, total, ticked) => {
    const all = !field.value && !chosenOnly;
    found.textContent = all ? "" : t("matches", { count: left, total });
    chosen.textContent = `✓ ${ticked}`;
    chosen.ariaLabel = chosen.title = t("chosen_only", { count: ticked });
  };
  return { element, field, menu, count };
}
