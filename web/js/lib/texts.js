// What the picker says, in the page's language: locales/<language>/main.json under "dualpass".

import { api } from "../../../../scripts/api.js";
import { app } from "../../../../scripts/app.js";
import { languageFor } from "./language.js";

let all = {};
let language = "en";

/** Ask the server for the texts of all languages; a failure leaves the keys to speak. */
export async function loadTexts() {
  const response = await api.fetchApi("/i18n", { signal: AbortSignal.timeout(5000) });
  const found = Object.entries(await response.json()).filter(([, texts]) => texts.dualpass);
  all = Object.fromEntries(found.map(([key, texts]) => [key, texts.dualpass]));
}

/** Follow the page's setting, which may have changed since. */
export function chooseLanguage() {
  const { setting } = app.extensionManager;
  const options = setting.settings?.["Comfy.Locale"]?.options;
  const offered = (Array.isArray(options) ? options : []).map((option) => option.value ?? option);
  const set = setting.get("Comfy.Locale") ?? "en";
  language = languageFor(set, offered, navigator.languages, Object.keys(all));
}

/** The language that is spoken now, as Intl knows it. */
export function spoken() {
  return language;
}

/**
 * A text with its values filled in; in English where a language lacks it.
 * @param {string} key
 * @param {object} [values] by the names that stand in { }
 * @returns {string}
 */
export function t(key, values = {}) {
  const text = all[language]?.[key] ?? all.en?.[key];
  if (text === undefined) return [key.replaceAll("_", " "), ...Object.values(values)].join(" ");
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}
