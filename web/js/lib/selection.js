// The selection text, `pair_id[@strength | @high:low], …`, and the rows that show it.

/**
 * The selection text that a stored widget value stands for: text, a list, or a wrapped list.
 * @param {unknown} value whatever a workflow or an API prompt holds
 * @returns {string}
 */
export function textOf(value) {
  if (typeof value === "string") return value;
  if (Array.isArray(value)) return value.map(textOf).filter(Boolean).join(", ");
  if (value?.__value__) return textOf(value.__value__);
  return value == null ? "" : JSON.stringify(value);
}

/**
 * The choices of a selection text in their order; a piece that is no choice stays as it is.
 * @param {string} text
 * @returns {{id: string, strength: string, piece: string}[]}
 */
export function choices(text) {
  const pieces = text.split(",").map((piece) => piece.trim());
  return pieces.filter(Boolean).map((piece) => {
    const [id, ...strength] = piece.split("@");
    return { id: id.trim(), strength: strength.join("@").trim(), piece };
  });
}

/**
 * The text with this pair chosen (last, unless it is already there) or no longer chosen.
 * @param {string} text
 * @param {string} id
 * @param {boolean} on
 * @returns {string}
 */
export function ticked(text, id, on) {
  const all = choices(text);
  if (on && all.some((choice) => choice.id === id)) return text;
  const others = all.filter((choice) => choice.id !== id).map((choice) => choice.piece);
  return [...others, ...(on ? [id] : [])].join(", ");
}

/**
 * What the picker shows: the choices that the catalog lacks, then each pair of the catalog.
 * @param {object[] | null} pairs the route's answer; null while it is not known
 * @param {string} text
 * @returns {{id: string, name: string, files: string, on: boolean, note: string}[]}
 */
export function rows(pairs, text) {
  const strengths = new Map(choices(text).map(({ id, strength }) => [id, strength]));
  const known = (pairs ?? []).map((pair) => ({
    id: pair.pair_id,
    name: pair.name,
    files: filesOf(pair),
    on: strengths.has(pair.pair_id),
    note: strengthNote(strengths.get(pair.pair_id)),
  }));
  const lacking = [...strengths.keys()].filter((id) => !known.some((row) => row.id === id));
  const missing = pairs ? "(not in catalog)" : "";
  const unknown = lacking.map((id) => ({
    id,
    name: id,
    files: "",
    on: true,
    note: [missing, strengthNote(strengths.get(id))].filter(Boolean).join(" "),
  }));
  // First, since each of them stops the run.
  return [...unknown, ...known];
}

function filesOf(pair) {
  const roles = ["high", "low", "both"].filter((role) => pair[role]);
  return roles.map((role) => `${role}: ${pair[role]}`).join("\n");
}

function strengthNote(strength = "") {
  const [high, low] = strength.split(":").map((levels) => levels.trim());
  return low === undefined ? high : `high ${high}, low ${low}`;
}
