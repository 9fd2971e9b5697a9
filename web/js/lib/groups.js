// Which rows the picker shows, in which groups, and which of them a search finds.

import { choices } from "./selection.js";

const KINDS = ["accelerator", "continuity", "motion", "style", "character", "quality", "reward"];

/**
 * What there is to show: the choices that the catalog lacks, its pairs by kind, what else is on
 * disk. A group without rows is left out.
 * @param {object | null} answer of the server; null while it is not known
 * @param {string} text the selection
 * @param {object[]} [jobs] the downloads to show
 * @returns {{key: string, rows: object[]}[]} a row has `id` and `pair`, `found` or neither
 */
export function groups(answer, text, jobs = []) {
  const chosen = new Map(choices(text).map((choice) => [choice.id, choice]));
  const loads = new Map(jobs.map((job) => [job.pair_id, job]));
  const known = (answer?.pairs ?? []).map((pair) => {
    const id = pair.pair_id;
    return { id, pair, choice: chosen.get(id), job: loads.get(id) };
  });
  const ids = new Set(known.map((row) => row.id));
  const lost = [...chosen.values()].filter((choice) => !ids.has(choice.id));
  const lacking = lost.map((choice) => ({ id: choice.id, choice, lost: !!answer }));
  const besides = (answer?.detected ?? []).map((found) => ({ id: found.pair_id, found }));
  const all = [
    // First, since each of them stops the run.
    { key: answer ? "missing" : "chosen", rows: lacking },
    ...byKind(known),
    { key: "detected", rows: besides },
  ];
  return all.filter((group) => group.rows.length);
}

function byKind(rows) {
  const keys = [...KINDS, "other"];
  const kinds = new Map(keys.map((key) => [key, { key, rows: [] }]));
  for (const row of rows) (kinds.get(row.pair.kind) ?? kinds.get("other")).rows.push(row);
  return [...kinds.values()];
}

/**
 * What a search leaves of the groups, no more than the first rows of it.
 * @param {{name: string, rows: object[]}[]} all groups, with their names as shown
 * @param {string} search words that must all occur
 * @param {boolean} chosenOnly leave the chosen rows only
 * @param {number} most
 * @returns {{shown: object[], count: number}} and how many rows it leaves in all
 */
export function left(all, search, chosenOnly, most) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  const shown = all.map((group) => {
    const rows = group.rows.filter((row) => {
      if (chosenOnly && !row.choice) return false;
      const text = words.length ? searchable(row, group.name) : "";
      return words.every((word) => text.includes(word));
    });
    const room = Math.max(0, most - count);
    count += rows.length;
    return { ...group, rows: rows.slice(0, room) };
  });
  return { shown: shown.filter((group) => group.rows.length), count };
}

const searchables = new WeakMap();

// Made once for each pair: somebody waits for the next letter.
function searchable({ id, pair, found }, group) {
  const about = pair ?? found ?? { name: id };
  if (!searchables.has(about)) {
    const files = [about.high, about.low, about.both].map((file) => file?.file ?? file);
    const texts = [id, about.name, ...files, about.trigger, group];
    searchables.set(about, texts.filter(Boolean).join("\n").toLowerCase());
  }
  return searchables.get(about);
}

/**
 * Which passes a pair has files for.
 * @param {object} pair
 * @returns {"pair" | "both" | "only_high" | "only_low"}
 */
export function roleOf({ high, low, both }) {
  if (both) return "both";
  if (high && low) return "pair";
  return high ? "only_high" : "only_low";
}

/**
 * How the files of a pair are here, or may come here.
 * @param {object} pair
 * @returns {"installed" | "downloadable" | "missing"}
 */
export function stateOf(pair) {
  if (pair.installed) return "installed";
  const absent = [pair.high, pair.low, pair.both].filter((file) => file && !file.installed);
  return absent.every((file) => file.downloadable) ? "downloadable" : "missing";
}
