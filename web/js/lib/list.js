// The list of the picker: its rows in their groups, as far as a search leaves them and somebody
// scrolls to them.

import { left } from "./groups.js";
import { foundRow, lostRow } from "./other_rows.js";
import { make, place } from "./page.js";
import { pairRow } from "./row.js";
import { t } from "./texts.js";

const MAKERS = { pair: pairRow, found: foundRow, lost: lostRow };
const AT_ONCE = 60; // rows: more than we ship for a model, far fewer than a catalog may hold
const NEAR = 400; // px from the end of what is drawn

/**
 * The list, empty until it is drawn.
 * @param {object} actions what the controls of the rows do, and choose
 * @returns {object} its element, draw(groups), filter(search, chosenOnly) and focus(id); the
 *   first two tell how many rows the search leaves
 */
export function pairList(actions) {
  const element = make("div", { className: "dualpass-list" });
  const state = { groups: [], search: "", chosenOnly: false, most: AT_ONCE, count: 0 };
  const list = { element, actions, made: new Map(), fieldsets: new Map(), ...state };
  element.addEventListener("change", ({ target }) => {
    if (target.type === "checkbox") actions.choose(target.value, target.checked);
  });
  element.addEventListener("scroll", () => drawMore(list));
  return {
    element,
    draw: (groups) => draw(list, groups),
    filter: (search, chosenOnly) => {
      Object.assign(list, { search, chosenOnly, most: AT_ONCE });
      return render(list);
    },
    focus: (id) => focus(list, id),
  };
}

function draw(list, groups) {
  list.groups = groups.map((group) => ({ ...group, name: t(`group_${group.key}`) }));
  const keys = new Set(groups.flatMap((group) => group.rows.map(keyOf)));
  for (const key of list.made.keys()) if (!keys.has(key)) list.made.delete(key);
  return render(list);
}

function render(list) {
  const { element, groups, search, chosenOnly, most } = list;
  const held = element.contains(document.activeElement) && document.activeElement.value;
  const { shown, count } = left(groups, search, chosenOnly, most);
  const fieldsets = shown.map((group) => fieldsetFor(list, group));
  place(element, fieldsets);
  list.count = count;
  if (held && !element.contains(document.activeElement)) boxOf(element, held)?.focus();
  return count;
}

function drawMore(list) {
  const { element, most, count } = list;
  const rest = element.scrollHeight - element.clientHeight - element.scrollTop;
  if (rest > NEAR || most >= count) return;
  list.most += AT_ONCE;
  render(list);
}

function focus(list, id) {
  const ids = list.groups.flatMap((group) => group.rows.map((row) => row.id));
  list.most = Math.max(list.most, ids.indexOf(id) + 1);
  render(list);
  boxOf(list.element, id)?.focus();
}

function fieldsetFor(list, { key, name, rows }) {
  if (!list.fieldsets.has(key)) {
    const legend = make("legend", {}, name);
    list.fieldsets.set(key, make("fieldset", { className: "dualpass-group" }, legend));
  }
  const fieldset = list.fieldsets.get(key);
  place(fieldset, [fieldset.firstChild, ...rows.map((row) => elementFor(list, row))]);
  return fieldset;
}

function elementFor({ made, actions }, row) {
  const key = keyOf(row);
  if (!made.has(key)) made.set(key, MAKERS[kindOf(row)](actions));
  made.get(key).draw(row);
  return made.get(key).element;
}

function kindOf(row) {
  if (row.pair) return "pair";
  return row.found ? "found" : "lost";
}

function keyOf(row) {
  return `${kindOf(row)} ${row.id}`;
}

function boxOf(list, id) {
  const boxes = [...list.querySelectorAll("input[type=checkbox]")];
  return boxes.find((box) => box.value === id);
}
