// The LoRA pairs of a base model, asked from the server once.

import { api } from "../../../../scripts/api.js";

const asked = new Map();

/**
 * The pairs that fit a base model, in the order of the catalog; a failure may be asked again.
 * @param {string} baseModel
 * @returns {Promise<object[]>}
 */
export function pairsFor(baseModel) {
  if (!asked.has(baseModel)) {
    const answer = fetchPairs(baseModel).catch((error) => {
      asked.delete(baseModel);
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

async function fetchPairs(baseModel) {
  const route = `/admin/loras/compatible/${encodeURIComponent(baseModel)}`;
  const response = await api.fetchApi(route, {
    cache: "no-store",
    signal: AbortSignal.timeout(8000),
  });
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return response.json();
}
