// DualPass Sampler: the widgets that do not count look disabled; their values stay.

import { app } from "../../../scripts/app.js";
import { after } from "./lib/page.js";

const PLANNED = [
  "steps", "cfg_high", "cfg_low", "sampler_name", "scheduler", "shift", "boundary",
];

function update(node) {
  const widgets = Object.fromEntries(node.widgets.map((widget) => [widget.name, widget]));
  const plan = node.inputs.find((input) => input.name === "plan");
  const planned = plan?.link != null && widgets.settings.value === "plan" ? PLANNED : [];
  const unsplit = widgets.split.value === "step" ? "boundary" : "switch_step";
  for (const name of [...PLANNED, "switch_step"]) {
    widgets[name].disabled = planned.includes(name) || name === unsplit;
  }
  node.setDirtyCanvas(true, true);
}

app.registerExtension({
  name: "DualPass.PlanWidgets",
  nodeCreated(node) {
    if (node.comfyClass !== "SVIProDualSampler") return;
    const again = () => update(node);
    after(node, "onConfigure", again);
    after(node, "onConnectionsChange", again);
    for (const name of ["settings", "split"]) {
      after(node.widgets.find((widget) => widget.name === name), "callback", again);
    }
    again();
  },
});
