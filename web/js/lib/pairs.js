// The LoRA pairs of a base model, asked from the server once.

import { ask } from "./server.js";

const asked = new Map();

/**
 * All that is known of the pairs of a base model; a failure may be asked again.
 * @param {string} baseModel
 * @returns {Promise<{pairs: object[], detected: object[], problems: string[]}>}
 */
export function pairsFor(baseModel) {
  if (!asked.has(baseModel)) {
    const answer = ask(`/dualpass/pairs/${encodeURIComponent(baseModel)}`).catch((error) => {
      // A newer question may stand there by now.
      if (asked.get(baseModel) === answer) asked.delete(baseModel);
      throw error;
    });
    asked.set(baseModel, answer);
  }
  return asked.get(baseModel);
}

/** Let the next call ask the server again. */
export function forgetPairs() {
  asked.clear();
}
