// DualPass Sampler: the widgets that do not count look disabled; their values stay.

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { after, allNodes } from "./lib/page.js";

const SAMPLER = "SVIProDualSampler";

const PLANNED = [
  "steps", "cfg_high", "cfg_low", "sampler_name", "scheduler", "shift", "boundary",
];

function update(node) {
  const widgets = Object.fromEntries(node.widgets.map((widget) => [widget.name, widget]));
  const planned = hasPlan(node) && widgets.settings.value === "plan" ? PLANNED : [];
  const unsplit = widgets.split.value === "step" ? "boundary" : "switch_step";
  for (const name of [...PLANNED, "switch_step"]) {
    widgets[name].disabled = planned.includes(name) || name === unsplit;
  }
  node.setDirtyCanvas(true, true);
}

// A picker that is muted or bypassed hands no plan on; one outside of a subgraph is not seen.
function hasPlan(node) {
  const slot = node.inputs.findIndex((input) => input.name === "plan");
  if (node.inputs[slot]?.link == null) return false;
  const source = node.getInputNode(slot);
  return !source || source.mode === LiteGraph.ALWAYS;
}

app.registerExtension({
  name: "DualPass.PlanWidgets",
  setup() {
    // Modes have no hook of their own.
    api.addEventListener("graphChanged", () => {
      for (const [, node] of allNodes(app.rootGraph)) {
        if (node.comfyClass === SAMPLER) update(node);
      }
    });
  },
  nodeCreated(node) {
    if (node.comfyClass !== SAMPLER) return;
    const again = () => update(node);
    after(node, "onConfigure", again);
    after(node, "onConnectionsChange", again);
    for (const name of ["settings", "split"]) {
      after(node.widgets.find((widget) => widget.name === name), "callback", again);
    }
    again();
  },
});
