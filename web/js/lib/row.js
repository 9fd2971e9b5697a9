// The row of a pair: its check box, what is known of it, and below that what it needs.

import { downloadLine } from "./download.js";
import { make, place } from "./page.js";
import * as parts from "./row_parts.js";
import { strengthLine } from "./strengths.js";
import { t } from "./texts.js";

/**
 * The row of a pair of the catalog, empty until it is drawn.
 * @param {object} actions what its controls do: weigh, fetch, cancel, copy
 * @returns {{element: HTMLElement, draw: (row: object) => void}}
 */
export function pairRow(actions) {
  const element = parts.newRow();
  const detail = make("div", { className: "dualpass-detail" });
  const lines = {};
  let last = {};

  const draw = (row) => {
    if (isSame(row, last)) return;
    const held = element.contains(document.activeElement);
    const isNew = row.pair !== last.pair;
    if (isNew) drawPair(element, row.pair);
    if (isNew) lines.notes = null;
    if (isNew || !row.job !== !last.job) drawMark(element, row, actions);
    last = row;
    drawBox(element, row);
    place(detail, linesOf(row, lines, actions));
    if (!detail.firstChild) detail.remove();
    else if (!detail.parentNode) element.append(detail);
    // A control that is gone leaves the keyboard where it was.
    if (held && !element.contains(document.activeElement)) parts.boxOf(element).focus();
  };
  return { element, draw };
}

function isSame(one, other) {
  const chosen = one.choice?.piece === other.choice?.piece;
  return one.pair === other.pair && chosen && one.job === other.job;
}

function drawPair(element, pair) {
  const [, badges, size] = element.children;
  parts.nameRow(element, pair.pair_id, pair.name, parts.titleOf(pair));
  parts.boxOf(element).ariaDescription = parts.descriptionOf(pair);
  badges.replaceChildren(...parts.badgesOf(pair));
  size.textContent = parts.sizeOf(pair);
}

function drawMark(element, { pair, job }, actions) {
  element.children[3].replaceChildren(job ? "" : parts.markOf(pair, actions.fetch));
}

function drawBox(element, { pair, choice }) {
  const box = parts.boxOf(element);
  box.checked = !!choice;
  // What cannot run can only be taken out.
  box.disabled = !!pair.problem && !choice;
}

/** The lines below a row; those with controls stay the same elements. */
function linesOf({ pair, choice, job }, lines, actions) {
  const found = [];
  lines.pair = pair;
  if (choice) {
    lines.strengths ??= strengthLine((levels, soon) => actions.weigh(lines.pair, levels, soon));
    lines.strengths.draw(pair, choice.strength);
    lines.notes ??= notesOn(pair, actions);
    found.push(lines.strengths.element, ...lines.notes);
  }
  if (pair.problem) found.push(parts.sentence("problem", pair.problem));
  if (job) {
    lines.download ??= downloadLine(actions.cancel);
    lines.download.draw(job, pair.name);
    found.push(lines.download.element);
  }
  return found;
}

function notesOn(pair, actions) {
  const texts = [pair.warning, pair.notes].filter(Boolean);
  const notes = texts.map((text) => parts.sentence("note", text));
  return pair.trigger ? [triggerLine(pair, actions.copy), ...notes] : notes;
}

function triggerLine(pair, copy) {
  const text = t("trigger", { words: pair.trigger });
  const button = make("button", { type: "button" }, t("copy"));
  button.ariaLabel = t("copy_trigger", { name: pair.name });
  button.addEventListener("click", () => copy(pair.trigger));
  const words = make("span", { className: "dualpass-name", title: pair.trigger }, text);
  return make("div", { className: "dualpass-trigger" }, words, button);
}
