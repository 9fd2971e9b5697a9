// Questions to our routes; an error that comes back is a sentence to show.

import { api } from "../../../../scripts/api.js";
import { t } from "./texts.js";

/**
 * The JSON that a route answers.
 * @param {string} route
 * @param {object} [options] of fetch
 * @returns {Promise<any>}
 * @throws {Error} with what the server says, or that it says nothing
 */
export async function ask(route, options) {
  const patience = { cache: "no-store", signal: AbortSignal.timeout(8000) };
  const response = await api.fetchApi(route, { ...patience, ...options }).catch(() => null);
  if (!response) throw new Error(t("no_answer"));
  const body = await response.json().catch(() => null);
  if (response.ok && body) return body;
  throw new Error(body?.error?.message ?? t("server_answered", { status: response.status }));
}

/**
 * Have the server do something.
 * @param {string} route
 * @param {object} body
 * @returns {Promise<any>}
 * @throws {Error} as `ask` does
 */
export function post(route, body) {
  return ask(route, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-DualPass": "1" },
    body: JSON.stringify(body),
    // To take a pair in, the server reads all of its files.
    signal: AbortSignal.timeout(180_000),
  });
}
