// Selections in the forms of other programs: paste one in, or copy one out.

import { copied } from "./clipboard.js";
import { make, onClick } from "./page.js";
import { post } from "./server.js";
import { t } from "./texts.js";

const FORMS = { lightx2v: "LightX2V", "ai-toolkit": "ai-toolkit", "applies-to": "applies_to" };

/**
 * The text of another program, the button that takes it in, and the one that writes it.
 * @param {object} picker what it acts on: baseModel(), text(), apply(text, message), say(message)
 * @returns {HTMLElement}
 */
export function exchange(picker) {
  const area = make("textarea", { rows: 4, placeholder: t("import_label"), spellcheck: false });
  const take = make("button", { type: "button" }, t("import"));
  const options = Object.entries(FORMS).map(([value, name]) => make("option", { value }, name));
  const form = make("select", {}, ...options);
  const give = make("button", { type: "button" }, t("export"));
  const buttons = make("div", { className: "dualpass-buttons" }, take, form, give);
  const heading = make("h4", {}, t("exchange"));
  area.ariaLabel = t("import_label");
  form.ariaLabel = t("export_form");

  const act = (button, run) =>
    onClick(button, () =>
      run().catch((error) => picker.say(t("failed", { error: error.message }))),
    );

  act(take, async () => {
    const body = { base_model: picker.baseModel(), text: area.value };
    const { selection, notes } = await post("/dualpass/import", body);
    if (body.base_model !== picker.baseModel()) return;
    picker.apply(selection, [t("imported"), ...notes].join(" "));
  });

  act(give, async () => {
    const body = { base_model: picker.baseModel(), selection: picker.text(), form: form.value };
    const { text } = await post("/dualpass/export", body);
    area.value = text;
    const worked = await copied(text);
    picker.say(worked ? t("export_copied", { form: FORMS[form.value] }) : t("copy_failed"));
  });
  return make("section", {}, heading, area, buttons);
}
