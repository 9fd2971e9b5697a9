// The report and the schedule as text under their nodes, also after a reload of the page.

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { addElement, after, allNodes, make } from "./lib/page.js";

const NAMES = {
  DualPassLoraRouter: "report",
  SVIProDualSampler: "schedule",
  SVIProLongVideo: "report",
};
const LINE = 16; // px, as in style.css
const MOST_LINES = 12;

const areaOf = (node) =>
  node.widgets.find((widget) => widget.name === NAMES[node.type])?.element;

function showText(node, output) {
  const text = (output?.text ?? []).join("\n");
  if (!text) return;
  const area = areaOf(node) ?? addArea(node);
  area.value = text;
  area.rows = Math.min(text.split("\n").length, MOST_LINES);
  const [, height] = node.computeSize();
  node.setSize([node.size[0], Math.max(node.size[1], height)]);
  // Only a drawn canvas puts a new element in its place.
  node.setDirtyCanvas(true, true);
}

function addArea(node) {
  const name = NAMES[node.type];
  const area = make("textarea", { className: "dualpass-text", readOnly: true, ariaLabel: name });
  const widget = addElement(node, name, "DUALPASS_TEXT", area, {
    serialize: false,
    getValue: () => "",
    setValue: () => {},
    getMinHeight: () => area.rows * LINE + 36,
  });
  widget.serialize = false;
  return area;
}

async function restoreTexts() {
  const nodes = allNodes(app.rootGraph).filter(([, node]) => node.type in NAMES);
  if (!nodes.length) return;
  const outputs = await lastOutputs(app.rootGraph.id);
  for (const [id, node] of nodes) {
    // A run that ends meanwhile knows better.
    if (!areaOf(node)) showText(node, outputs[id]);
  }
}

/** What the nodes of a workflow gave out in its last good run, if the server remembers it. */
async function lastOutputs(workflow) {
  const ended = "status=completed&limit=1";
  const list = await api.fetchApi(`/jobs?${ended}&workflow_id=${encodeURIComponent(workflow)}`);
  const [job] = (await list.json()).jobs;
  if (!job) return {};
  const found = await api.fetchApi(`/jobs/${job.id}`);
  return (await found.json()).outputs;
}

app.registerExtension({
  name: "DualPass.NodeText",
  nodeCreated(node) {
    if (node.comfyClass in NAMES) after(node, "onExecuted", (output) => showText(node, output));
  },
  afterConfigureGraph() {
    restoreTexts().catch((error) => console.warn("DualPass: no texts of the last run.", error));
  },
});
