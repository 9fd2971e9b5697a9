// What the rows of the picker are made of.

import { sizeText } from "./format.js";
import { roleOf, stateOf } from "./groups.js";
import { make } from "./page.js";
import { spoken, t } from "./texts.js";

let blank = null;

/**
 * A row with an empty check box and name, and places for badges, size and state.
 * @returns {HTMLElement}
 */
export function newRow() {
  const span = (className) => make("span", { className: `dualpass-${className}` });
  const label = () => make("label", {}, make("input", { type: "checkbox" }), span("name"));
  const parts = () => [label(), span("badges"), span("size dualpass-dim"), span("state")];
  // Copies are made faster than new ones.
  blank ??= make("div", { className: "dualpass-row" }, ...parts());
  return blank.cloneNode(true);
}

/**
 * Name a row and its check box.
 * @param {HTMLElement} row
 * @param {string} id the check box's value
 * @param {string} name
 * @param {string} title
 */
export function nameRow(row, id, name, title) {
  const label = row.firstChild;
  const [box, text] = label.children;
  label.title = title;
  box.value = id;
  text.textContent = name;
}

/** The check box of a row. */
export function boxOf(row) {
  return row.firstChild.firstChild;
}

/**
 * Which passes a pair is for, as short marks with a title.
 * @param {object} pair
 * @returns {HTMLElement[]}
 */
export function badgesOf(pair) {
  const role = roleOf(pair);
  const texts = role === "pair" ? ["H", "L"] : [t(`badge_${role}`)];
  const title = t(`role_${role}`);
  return texts.map((text) => make("span", { className: "dualpass-badge", title }, text));
}

/**
 * The name and the files of a pair, a line each.
 * @param {object} pair of the catalog, with files, or one found on disk, with their names
 * @returns {string}
 */
export function titleOf(pair) {
  const roles = ["high", "low", "both"].filter((role) => pair[role]);
  const files = roles.map((role) => t(`file_${role}`, { file: pair[role].file ?? pair[role] }));
  return [pair.name, ...files].join("\n");
}

/**
 * What a screen reader says of a pair after its name.
 * @param {object} pair
 * @returns {string}
 */
export function descriptionOf(pair) {
  const state = stateOf(pair) === "installed" ? "installed" : "not_installed";
  const size = sizeText(pair.size, spoken());
  return [t(`role_${roleOf(pair)}`), size, t(state), pair.warning, pair.problem]
    .filter(Boolean)
    .join(", ");
}

/**
 * How large a pair is, or that it is neither here nor to be had.
 * @param {object} pair
 * @returns {string}
 */
export function sizeOf(pair) {
  return stateOf(pair) === "missing" ? t("missing") : sizeText(pair.size, spoken());
}

/**
 * Whether a pair is here: a mark, or the button that fetches it.
 * @param {object} pair
 * @param {(pair: object) => void} fetch
 * @returns {HTMLElement | string}
 */
export function markOf(pair, fetch) {
  const state = stateOf(pair);
  if (state === "missing") return "";
  if (state === "installed") return make("span", { title: t("installed") }, "✓");
  const size = sizeText(pair.size, spoken());
  const title = t(size ? "download" : "download_unsized", { name: pair.name, size });
  const button = make("button", { type: "button", title, ariaLabel: title }, "↓");
  button.addEventListener("click", () => fetch(pair));
  return button;
}

/**
 * A sentence below a row.
 * @param {"problem" | "note"} kind
 * @param {string} text
 * @returns {HTMLElement}
 */
export function sentence(kind, text) {
  const className = kind === "problem" ? "dualpass-error" : "dualpass-dim";
  return make("p", { className }, t(kind, { text }));
}
