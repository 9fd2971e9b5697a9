// Text to the clipboard.

import { make } from "./page.js";

/**
 * Copy a text, also where the page comes over plain http, where browsers lack the newer way.
 * @param {string} text
 * @returns {Promise<boolean>} whether it worked
 */
export async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copiedBySelecting(text);
  }
}

function copiedBySelecting(text) {
  const focused = document.activeElement;
  const area = make("textarea", { value: text, className: "dualpass-hidden" });
  document.body.append(area);
  area.select();
  const worked = document.execCommand("copy");
  area.remove();
  focused?.focus({ preventScroll: true });
  return worked;
}
