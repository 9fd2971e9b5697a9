// The strengths of a chosen pair, one field for each pass that it has a file for.

import { levelsOf, stepped } from "./levels.js";
import { make } from "./page.js";
import { strengthsOf } from "./selection.js";
import { t } from "./texts.js";

const STEP = 0.05;
const BIG_STEP = 0.25; // with Shift

/**
 * The line with the strengths of one pair.
 * @param {(strengths: {high: string, low: string}, soon: boolean) => void} weigh gets what is
 *   written; `soon` while more changes may follow at once
 * @returns {{element: HTMLElement, draw: (pair: object, strength: string) => void}}
 */
export function strengthLine(weigh) {
  const [high, low] = ["high", "low"].map(field);
  const link = make("button", { type: "button", className: "dualpass-link" });
  const marks = ["H", "L"].map((text) => make("span", { ariaHidden: "true" }, text));
  const element = make("div", { className: "dualpass-strengths" });
  element.append(marks[0], high, link, marks[1], low);
  const line = { fields: [high, low], marks, link, weigh, pair: null, strength: "", linked: false };
  link.addEventListener("click", () => toggleLink(line));
  element.addEventListener("input", ({ target }) => follow(line, target));
  element.addEventListener("change", () => write(line, false));
  element.addEventListener("keydown", (event) => {
    if (event.target !== link) key(line, event);
  });
  return { element, draw: (pair, strength) => draw(line, pair, strength) };
}

function field(pass) {
  return make("input", { type: "text", name: pass, autocomplete: "off", spellcheck: false });
}

// What is being typed stays unless the stored strength changed meanwhile.
function draw(line, pair, strength, anew = !line.pair || strength !== line.strength) {
  const strengths = strengthsOf(strength);
  for (const [at, input] of line.fields.entries()) {
    input.hidden = line.marks[at].hidden = pair.strength[input.name] === null;
    input.placeholder = pair.strength[input.name] ?? "";
    if (anew && input.value !== strengths[input.name]) input.value = strengths[input.name];
    input.ariaLabel = t(`strength_${input.name}`, { name: pair.name });
    mark(input, pair);
  }
  line.link.hidden = line.fields.some((input) => input.hidden);
  line.link.ariaLabel = line.link.title = t("link_strengths");
  const [high, low] = line.fields.map((input) => input.value || input.placeholder);
  // Two that are not the same come apart; only a click brings them together again.
  if (anew) setLinked(line, high === low && (line.linked || !line.pair));
  Object.assign(line, { pair, strength });
}

function mark(input, pair) {
  const invalid = levelsOf(input.value) === null;
  const value = pair.strength[input.name];
  input.ariaInvalid = `${invalid}`;
  input.title = t(invalid ? "strength_invalid" : "strength_title", { value });
}

function setLinked(line, linked) {
  line.linked = linked;
  line.link.textContent = linked ? "=" : "≠";
  line.link.ariaPressed = `${linked}`;
}

function toggleLink(line) {
  const [high] = line.fields;
  setLinked(line, !line.linked);
  if (!line.linked) return;
  high.value ||= high.placeholder;
  follow(line, high);
  write(line, false);
}

function follow({ fields, linked, pair }, changed) {
  for (const input of fields) {
    if (linked) input.value = changed.value;
    mark(input, pair);
  }
}

function write({ fields, weigh }, soon) {
  const [high, low] = fields.map((input) => levelsOf(input.value));
  if (high !== null && low !== null) weigh({ high, low }, soon);
}

function key(line, event) {
  if (event.key === "Enter") write(line, false);
  if (event.key === "Escape") draw(line, line.pair, line.strength, true);
  const by = { ArrowUp: 1, ArrowDown: -1 }[event.key];
  const levels = by && levelsOf(event.target.value || event.target.placeholder);
  if (!levels) return;
  event.preventDefault();
  event.target.value = stepped(levels, by * (event.shiftKey ? BIG_STEP : STEP));
  follow(line, event.target);
  write(line, true);
}
