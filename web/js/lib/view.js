// The parts of the picker, put together.

import { addKeys } from "./keys.js";
import { pairList } from "./list.js";
import { make } from "./page.js";
import { presetPanel } from "./panel.js";
import { planLine } from "./plan.js";
import { problemList } from "./problems.js";
import { searchLine } from "./search.js";
import { t } from "./texts.js";

/**
 * The elements of a picker, and what changes them.
 * @param {object} actions what its controls do
 * @returns {object}
 */
export function pickerView(actions) {
  const view = { sizes: { total: 0, chosen: 0 }, list: pairList(actions), plan: planLine() };
  view.problems = problemList();
  view.panel = presetPanel(actions, () => openPanel(view, false));
  view.top = searchLine(
    (search, chosenOnly) => count(view, view.list.filter(search, chosenOnly)),
    () => openPanel(view, view.panel.element.hidden),
  );
  view.none = make("p", { className: "dualpass-none dualpass-dim", hidden: true }, t("no_match"));
  [view.loading, view.news] = [make("span"), make("span")];
  view.root = rootOf(view);
  addKeys(view.root, view.list.element);
  return {
    ...view,
    closePanel: () => openPanel(view, false),
    focusSearch: () => view.top.field.focus(),
    draw: (groups, chosen) => draw(view, groups, chosen),
    say: (...message) => view.news.replaceChildren(...message),
    sayLoading: (...message) => view.loading.replaceChildren(...message),
  };
}

function rootOf({ top, loading, news, list, none, panel, problems, plan }) {
  return make(
    "fieldset",
    { className: "dualpass-pairs" },
    make("legend", { className: "dualpass-hidden" }, t("legend")),
    top.element,
    make("div", { className: "dualpass-status", role: "status" }, loading, news),
    list.element,
    none,
    panel.element,
    problems.element,
    plan.element,
  );
}

function draw(view, groups, chosen) {
  view.sizes.total = groups.reduce((sum, group) => sum + group.rows.length, 0);
  view.sizes.chosen = chosen;
  count(view, view.list.draw(groups));
}

function count({ none, top, sizes }, left) {
  none.hidden = !!left || !sizes.total;
  top.count(left, sizes.total, sizes.chosen);
}

function openPanel({ panel, list, top }, open) {
  const held = panel.element.contains(document.activeElement);
  panel.element.hidden = !open;
  list.element.hidden = open;
  top.menu.ariaExpanded = `${open}`;
  if (open) panel.open();
  else if (held) top.menu.focus();
}
