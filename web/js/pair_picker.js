// LoRA Pairs (Catalog): the pairs of the chosen base model as check boxes.

import { app } from "../../../scripts/app.js";
import { followJobs } from "./lib/jobs.js";
import { addElement, after, allNodes } from "./lib/page.js";
import { forgetPairs } from "./lib/pairs.js";
import { makePicker, setValue, showJobs } from "./lib/picker.js";
import { chooseLanguage, loadTexts, t } from "./lib/texts.js";

const TYPE = "DUALPASS_LORA_PAIRS";
const LEAST_HEIGHT = 230; // px: four pairs and all that is around them; more scroll
const FIRST_HEIGHT = 430; // px, of a new node
const SETTLE = 400; // ms without a change end an undo step

function addPicker(node, name) {
  chooseLanguage();
  const baseModel = node.widgets.find((widget) => widget.name === "base_model");
  let timer = 0;

  // The page's undo and its draft notice only what happens between these two.
  const record = (change) => {
    app.canvas.emitBeforeChange();
    change();
    app.canvas.emitAfterChange();
  };
  const write = (text, soon) => {
    clearTimeout(timer);
    const set = () => (widget.value = text);
    if (!soon) return record(set);
    set();
    timer = setTimeout(record, SETTLE, () => {});
  };

  const picker = makePicker(baseModel, write);
  const { root } = picker.view;
  const widget = addElement(node, name, TYPE, root, {
    socketless: true,
    getValue: () => picker.text,
    setValue: (value) => setValue(picker, value),
    getMinHeight: () => LEAST_HEIGHT,
  });
  widget.picker = picker;
  picker.follow = () => followJobs(tellJobs);
  after(baseModel, "callback", picker.load);
  after(node, "onConfigure", picker.load);
  picker.load();
  picker.follow();
  return { widget, minWidth: 340, minHeight: FIRST_HEIGHT };
}

function pickers() {
  const widgets = allNodes(app.rootGraph).flatMap(([, node]) => node.widgets ?? []);
  return widgets.filter((widget) => widget.type === TYPE).map((widget) => widget.picker);
}

function tellJobs(shown, ended) {
  if (ended.length) forgetPairs();
  for (const picker of pickers()) {
    showJobs(picker, shown);
    const own = ended.filter((job) => job.base_model === picker.baseModel.value);
    own.forEach((job) => tellEnd(picker, job));
  }
}

async function tellEnd(picker, job) {
  const pair = picker.answer?.pairs.find(({ pair_id: id }) => id === job.pair_id);
  const values = { name: pair?.name ?? job.pair_id, error: job.error?.message };
  await picker.load();
  picker.view.say(t(`download_${job.state}`, values));
}

app.registerExtension({
  name: "DualPass.PairPicker",
  init: () => loadTexts().catch((error) => console.warn("DualPass: no texts.", error)),
  getCustomWidgets: () => ({ [TYPE]: addPicker }),
  beforeRegisterNodeDef(_type, definition) {
    if (definition.name !== "CatalogLoraPairPicker") return;
    // Not set by the server: without this script the page shows a text field, which keeps the text.
    definition.input.optional.pairs[1].widgetType = TYPE;
  },
  refreshComboInNodes() {
    forgetPairs();
    for (const picker of pickers()) picker.load();
  },
});
