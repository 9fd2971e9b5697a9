// A picker: what it knows of the pairs, the text that it holds, and how both come on screen.

import { actionsFor } from "./actions.js";
import { groups } from "./groups.js";
import { make } from "./page.js";
import { pairsFor } from "./pairs.js";
import { choices, textOf } from "./selection.js";
import { t } from "./texts.js";
import { pickerView } from "./view.js";

/**
 * A picker of pairs.
 * @param {{value: string}} baseModel the widget that says for which model
 * @param {(text: string, soon: boolean) => void} write keeps a new selection text; `soon` while
 *   more of them may follow at once
 * @returns {object}
 */
export function makePicker(baseModel, write) {
  const picker = { baseModel, text: "", answer: null, jobs: [], asked: "", turn: 0 };
  picker.edit = (text, soon = false) => {
    picker.view.say();
    if (text !== picker.text) write(text, soon);
  };
  picker.load = () => load(picker);
  picker.view = pickerView(actionsFor(picker));
  picker.retry = make("button", { type: "button", onclick: picker.load }, t("retry"));
  return picker;
}

/**
 * Take a selection text, or what a workflow holds in its place.
 * @param {object} picker
 * @param {unknown} value
 */
export function setValue(picker, value) {
  picker.text = textOf(value);
  draw(picker);
}

/**
 * Show these downloads where they are for this picker's base model.
 * @param {object} picker
 * @param {object[]} jobs
 */
export function showJobs(picker, jobs) {
  picker.jobs = jobs;
  drawList(picker);
}

function draw(picker) {
  drawList(picker);
  picker.view.plan.show(picker.baseModel.value, picker.text);
}

function drawList({ answer, baseModel, jobs, text, view }) {
  const loads = jobs.filter((job) => job.base_model === baseModel.value);
  view.draw(groups(answer, text, loads), choices(text).length);
}

/** Ask what there is for the base model; what is shown of the same one stays meanwhile. */
async function load(picker) {
  const asked = picker.baseModel.value;
  const turn = ++picker.turn; // the newest question counts
  const { view } = picker;
  if (asked !== picker.asked) {
    // Presets, and the offer to keep both, are those of the other base model.
    view.closePanel();
    view.say();
    show(picker, null);
  }
  picker.asked = asked;
  // The button is about to go.
  if (document.activeElement === picker.retry) view.focusSearch();
  if (!picker.answer) view.sayLoading(t("loading"));
  try {
    const answer = await pairsFor(asked);
    if (turn !== picker.turn) return;
    show(picker, answer);
    view.sayLoading(answer.pairs.length ? "" : t("no_pairs", { base_model: asked }));
  } catch (error) {
    if (turn !== picker.turn) return;
    show(picker, null);
    view.sayLoading(`${t("load_failed", { error: error.message })} `, picker.retry);
  }
}

function show(picker, answer) {
  picker.answer = answer;
  picker.view.problems.draw(answer?.problems ?? []);
  draw(picker);
}
