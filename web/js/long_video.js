// DualPass Long Video: room to write in, and no line of progress once nothing is made.

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { allNodes } from "./lib/page.js";

const NODE = "SVIProLongVideo";
const ROOM = 160; // px, shared by prompts and negative
const ENDS = ["execution_success", "execution_error", "execution_interrupted"];

// ComfyUI's newer pages do that themselves; up to 1.47 the last line stays.
function removeProgress() {
  for (const [, node] of allNodes(app.rootGraph)) {
    if (node.comfyClass !== NODE) continue;
    const line = node.widgets.find(({ name }) => name === "$$node-text-preview");
    if (line) node.removeWidget(line);
  }
}

app.registerExtension({
  name: "DualPass.LongVideo",
  setup() {
    for (const end of ENDS) api.addEventListener(end, removeProgress);
  },
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    node.setSize([node.size[0], node.size[1] + ROOM]);
    // A seed that changed would make the next run another video in place of resuming this one.
    // Not in the schema: pages of ComfyUI 0.30 take that word for the name of the widget.
    const control = node.widgets.find(({ name }) => name === "control_after_generate");
    if (control) control.value = "fixed";
  },
});
