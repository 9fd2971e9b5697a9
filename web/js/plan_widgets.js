// The sampling nodes: the widgets that do not count look disabled; their values stay.

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { after, allNodes } from "./lib/page.js";

const NODES = ["SVIProDualSampler", "SVIProLongVideo"];

const PLANNED = [
  "steps", "cfg_high", "cfg_low", "sampler_name", "scheduler", "shift", "boundary",
];

// [what is the case, which widgets then do not count]. A widget whose value would stop the run, and
// so has to be set back, is not among them.
const RULES = [
  [({ value, given }) => value.settings === "plan" && given("plan"), PLANNED],
  [({ value }) => !["plan", "manual"].includes(value.settings), [...PLANNED, "split", "switch_step"]],
  [({ value }) => value.split === "step", ["boundary"]],
  [({ value }) => value.split !== "step", ["switch_step"]],
  [({ given }) => given("sampler"), ["sampler_name"]],
  [({ given }) => given("sigmas"), ["steps", "scheduler"]],
  [({ value, given }) => given("sigmas") && value.denoise === 1, ["denoise"]],
  [({ given }) => !given("model_first"), ["first_steps", "cfg_first"]],
  [({ value }) => value.cfg_steps.trim(), ["cfg_high", "cfg_low"]],
  [({ value }) => value.trajectory !== "one" && !value.cfg_steps.trim(), ["cfg_steps"]],
  [({ given }) => given("anchor") === false, ["motion_latents", "length"]],
];

function update(node) {
  const value = Object.fromEntries(node.widgets.map((widget) => [widget.name, widget.value]));
  const given = (name) => {
    const slot = node.inputs.findIndex((input) => input.name === name);
    return slot < 0 ? undefined : isGiven(node, slot);
  };
  const idle = RULES.filter(([applies]) => applies({ value, given })).flatMap(([, names]) => names);
  const known = new Set(RULES.flatMap(([, names]) => names));
  for (const widget of node.widgets) {
    if (known.has(widget.name)) widget.disabled = idle.includes(widget.name);
  }
  node.setDirtyCanvas(true, true);
}

// Who is muted hands nothing on, who is bypassed what it is given; nobody outside of a subgraph is
// seen from within.
function isGiven(node, slot) {
  const input = node.inputs[slot];
  if (input?.link == null) return false;
  const source = node.getInputNode(slot);
  if (!source || source.mode === LiteGraph.ALWAYS) return true;
  if (source.mode === LiteGraph.NEVER) return false;
  return isGiven(source, source.inputs.findIndex(({ type }) => type === input.type));
}

app.registerExtension({
  name: "DualPass.PlanWidgets",
  setup() {
    // Modes have no hook of their own.
    api.addEventListener("graphChanged", () => {
      for (const [, node] of allNodes(app.rootGraph)) {
        if (NODES.includes(node.comfyClass)) update(node);
      }
    });
  },
  nodeCreated(node) {
    if (!NODES.includes(node.comfyClass)) return;
    const again = () => update(node);
    after(node, "onConfigure", again);
    after(node, "onConnectionsChange", again);
    for (const widget of node.widgets) after(widget, "callback", again);
    again();
  },
});
