// The rows that are no pair of the catalog: a choice that it lacks, and a pair found on disk.

import { make, onClick } from "./page.js";
import { badgesOf, boxOf, nameRow, newRow, sentence, titleOf } from "./row_parts.js";
import { t } from "./texts.js";

/**
 * The row of a choice that the catalog lacks, or of which nothing is known yet.
 * @returns {{element: HTMLElement, draw: (row: object) => void}}
 */
export function lostRow() {
  const element = newRow();
  const unknown = make("span", { className: "dualpass-error" });
  const strength = make("span", { className: "dualpass-dim" });
  // In the label, since they belong to the name.
  element.firstChild.append(unknown, strength);
  element.replaceChildren(element.firstChild);
  const draw = ({ id, choice, lost }) => {
    nameRow(element, id, id, id);
    boxOf(element).checked = true;
    unknown.textContent = lost ? t("not_in_catalog") : "";
    strength.textContent = choice.strength;
  };
  return { element, draw };
}

/**
 * The row of a pair that lies on disk and is in no catalog.
 * @param {object} actions what its button does: adopt
 * @returns {{element: HTMLElement, draw: (row: object) => void}}
 */
export function foundRow(actions) {
  const element = make("div", { className: "dualpass-row" });
  const draw = ({ found }) => {
    const name = make("span", { className: "dualpass-name", title: titleOf(found) }, found.name);
    const badges = make("span", { className: "dualpass-badges" }, ...badgesOf(found));
    const add = make("button", { type: "button" }, t("add_to_catalog"));
    add.ariaLabel = t("add_one_to_catalog", { name: found.name });
    onClick(add, () => actions.adopt(found));
    const notes = found.note ? [sentence("note", found.note)] : [];
    element.replaceChildren(name, badges, add, ...notes);
  };
  return { element, draw };
}
