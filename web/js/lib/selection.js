// The selection text, `pair_id[@strength | @high:low], …`, and what a click makes of it.

/**
 * The selection text that a stored widget value stands for: text, a list, or a wrapped list.
 * @param {unknown} value whatever a workflow or an API prompt holds
 * @returns {string}
 */
export function textOf(value) {
  if (typeof value === "string") return value;
  if (Array.isArray(value)) return value.map(textOf).filter(Boolean).join(", ");
  if (value && typeof value === "object" && "__value__" in value) return textOf(value.__value__);
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
 * The text with these choices of an earlier text in it again, with their strengths.
 * @param {string} text
 * @param {string} earlier
 * @param {string[]} ids
 * @returns {string}
 */
export function restored(text, earlier, ids) {
  const lost = choices(earlier).filter(({ id }) => ids.includes(id));
  const back = lost.filter(({ id }) => ticked(text, id, true) !== text);
  return [...choices(text), ...back].map((choice) => choice.piece).join(", ");
}

/**
 * The two strengths of a choice, both the same where it names one; empty where it names none.
 * @param {string} [strength] what stands after the @
 * @returns {{high: string, low: string}}
 */
export function strengthsOf(strength = "") {
  const [high, low = high] = strength.split(":").map((levels) => levels.trim());
  return { high, low };
}

/**
 * The text with other strengths for a chosen pair.
 * @param {string} text
 * @param {string} id
 * @param {{high: string, low: string}} strengths empty: as the catalog recommends
 * @param {{high: number | null, low: number | null}} recommended null: no file on this pass
 * @returns {string}
 */
export function weighted(text, id, strengths, recommended) {
  const strength = written(strengths, recommended);
  const piece = strength ? `${id}@${strength}` : id;
  return choices(text)
    .map((choice) => (choice.id === id ? piece : choice.piece))
    .join(", ");
}

function written(strengths, recommended) {
  const passes = ["high", "low"].filter((pass) => recommended[pass] !== null);
  if (passes.every((pass) => !strengths[pass])) return "";
  const [first, second = first] = passes.map((pass) => strengths[pass] || `${recommended[pass]}`);
  return first === second ? first : `${first}:${second}`;
}

/**
 * The chosen accelerators that this one would stack on: those that act on a pass that it acts on.
 * @param {object[]} pairs of the catalog
 * @param {string} text
 * @param {string} id of the pair that gets chosen
 * @returns {object[]}
 */
export function rivals(pairs, text, id) {
  const accelerators = pairs.filter((pair) => pair.kind === "accelerator");
  const added = accelerators.find((pair) => pair.pair_id === id);
  const chosen = new Map(choices(text).map((choice) => [choice.id, choice.strength]));
  return accelerators.filter(({ pair_id: rival, strength }) => {
    const levels = strengthsOf(chosen.get(rival));
    const shares = (pass) => added?.strength[pass] != null && acts(strength, levels, pass);
    return rival !== id && chosen.has(rival) && ["high", "low"].some(shares);
  });
}

function acts(recommended, levels, pass) {
  return recommended[pass] !== null && Number(levels[pass] || recommended[pass]) !== 0;
}
