// LoRA Pairs (Catalog): the pairs of the chosen base model as check boxes.

import { app } from "../../../scripts/app.js";
import { addElement, after, allNodes, make } from "./lib/page.js";
import { forgetPairs, pairsFor } from "./lib/pairs.js";
import { rows, textOf, ticked } from "./lib/selection.js";

const TYPE = "DUALPASS_LORA_PAIRS";
const HEIGHT = 230; // px: nine pairs and the legend; more scroll

function addPicker(node, name) {
  const list = make("div", { className: "dualpass-list" });
  const status = make("div", { className: "dualpass-status", role: "status" });
  const legend = make("legend", {}, "LoRA pairs");
  const root = make("fieldset", { className: "dualpass-pairs" }, legend, status, list);
  const baseModel = node.widgets.find((widget) => widget.name === "base_model");
  let text = "";
  let pairs = null;

  const draw = () => {
    const focused = list.contains(document.activeElement) && document.activeElement.value;
    const boxes = rows(pairs, text).map((row) => boxFor(row, choose));
    list.replaceChildren(...boxes.map((box) => box.parentElement));
    boxes.find((box) => box.value === focused)?.focus({ preventScroll: true });
  };

  const choose = (id, on) => {
    // The page's undo and its draft notice only what happens between these two.
    app.canvas.emitBeforeChange();
    widget.value = ticked(text, id, on);
    app.canvas.emitAfterChange();
  };

  const show = (found, ...message) => {
    pairs = found;
    status.replaceChildren(...message);
    draw();
  };

  const load = async () => {
    const asked = baseModel.value;
    show(null, "Loading …");
    const answer = await pairsFor(asked).then(
      (found) => [found, found.length ? "" : `The catalog has no LoRA pairs for ${asked}.`],
      (error) => [null, `The pairs could not be loaded: ${error.message}. `, retry],
    );
    if (asked === baseModel.value) show(...answer);
  };
  const retry = make("button", { type: "button", onclick: load }, "Retry");

  const widget = addElement(node, name, TYPE, root, list, {
    socketless: true,
    getValue: () => text,
    setValue: (value) => {
      text = textOf(value);
      draw();
    },
    getMinHeight: () => HEIGHT,
  });
  widget.load = load;
  list.addEventListener("keydown", pageKeys);
  after(baseModel, "callback", load);
  after(node, "onConfigure", load);
  load();
  return { widget, minWidth: 280 };
}

function boxFor({ id, name, files, on, note }, choose) {
  const box = make("input", { type: "checkbox", value: id, checked: on });
  box.addEventListener("change", () => choose(id, box.checked));
  const shown = make("span", { className: "dualpass-name" }, name);
  make("label", { title: files }, box, shown, make("span", { className: "dualpass-note" }, note));
  return box;
}

// The page leaves its keys to a focused input, but a check box has no use for these.
function pageKeys(event) {
  const control = event.ctrlKey || event.metaKey ? "ctrl+" : "";
  const command = {
    "ctrl+z": event.shiftKey ? "Comfy.Redo" : "Comfy.Undo",
    "ctrl+y": "Comfy.Redo",
    r: "Comfy.RefreshNodeDefinitions",
  }[control + event.key.toLowerCase()];
  if (!command) return;
  event.preventDefault();
  app.extensionManager.command.execute(command);
}

app.registerExtension({
  name: "DualPass.PairPicker",
  getCustomWidgets: () => ({ [TYPE]: addPicker }),
  refreshComboInNodes() {
    forgetPairs();
    for (const [, node] of allNodes(app.rootGraph)) {
      node.widgets?.find((widget) => widget.type === TYPE)?.load();
    }
  },
});
