// The presets of a base model: choose one, keep the present selection as one, forget an own one.

import { make } from "./page.js";
import { ask, post } from "./server.js";
import { t } from "./texts.js";

/**
 * The list of presets, and the form that adds one.
 * @param {object} picker what it acts on: baseModel(), text(), apply(text, message), say(message)
 * @returns {{element: HTMLElement, open: () => Promise<void>}} `open` asks for them
 */
export function presetList(picker) {
  const list = make("ul");
  const field = make("input", { type: "text", maxLength: 80, required: true });
  field.placeholder = t("preset_name_hint");
  field.ariaLabel = t("preset_name");
  const form = make("form", {}, field, make("button", { type: "submit" }, t("save_preset")));
  const presets = { list, field, picker };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const name = field.value.trim();
    const kept = await keep(presets, name, picker.text(), t("preset_saved", { name }));
    if (kept) field.value = "";
  });
  return { element: make("section", {}, list, form), open: () => open(presets) };
}

async function open({ list, field, picker }) {
  const asked = picker.baseModel();
  const note = (className, text) => list.replaceChildren(make("li", { className }, text));
  note("dualpass-dim", t("loading"));
  try {
    const found = await ask(`/dualpass/presets/${encodeURIComponent(asked)}`);
    if (asked !== picker.baseModel()) return;
    if (found.length) show({ list, field, picker }, found);
    else note("dualpass-dim", t("no_presets"));
  } catch (error) {
    if (asked !== picker.baseModel()) return;
    note("dualpass-error", t("presets_failed", { error: error.message }));
  }
}

function show(presets, found) {
  presets.list.replaceChildren(...found.map((preset) => itemFor(presets, preset)));
}

async function keep(presets, name, selection, message) {
  const { picker } = presets;
  try {
    const body = { base_model: picker.baseModel(), name, selection };
    const found = await post("/dualpass/presets", body);
    if (body.base_model === picker.baseModel()) show(presets, found);
    picker.say(message);
    return true;
  } catch (error) {
    picker.say(t("failed", { error: error.message }));
    return false;
  }
}

function itemFor(presets, { name, selection, notes, own }) {
  const { picker } = presets;
  const use = make("button", { type: "button", className: "dualpass-name" }, name);
  use.title = selection;
  use.ariaPressed = `${selection === picker.text()}`;
  use.addEventListener("click", () => picker.apply(selection, t("preset_applied", { name })));
  const item = make("li", {}, use, ...(own ? [forgetButton(presets, name)] : []));
  if (notes) item.append(make("p", { className: "dualpass-dim" }, notes));
  return item;
}

function forgetButton(presets, name) {
  const button = make("button", { type: "button" }, t("forget"));
  button.ariaLabel = t("forget_preset", { name });
  button.addEventListener("click", async () => {
    const gone = await keep(presets, name, null, t("preset_forgotten", { name }));
    if (gone) presets.field.focus();
  });
  return button;
}
