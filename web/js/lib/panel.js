// The panel that stands in for the list: presets, import and export.

import { exchange } from "./exchange.js";
import { make } from "./page.js";
import { presetList } from "./presets.js";
import { t } from "./texts.js";

/**
 * The panel, closed.
 * @param {object} actions what its controls do
 * @param {() => void} close
 * @returns {{element: HTMLElement, open: () => void}} `open` asks for the presets
 */
export function presetPanel(actions, close) {
  const presets = presetList(actions);
  const button = make("button", { type: "button", onclick: close }, "×");
  const top = make("div", { className: "dualpass-panel-top" }, make("h4", {}, t("presets")), button);
  const element = make("div", { className: "dualpass-panel", hidden: true });
  button.ariaLabel = button.title = t("close");
  element.append(top, presets.element, exchange(actions));
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    // The page would close something of its own.
    event.stopPropagation();
    close();
  });
  return { element, open: presets.open };
}
