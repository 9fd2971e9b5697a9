// Strengths as text: one number, or one for each step with ; between them.

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const MOST = 10;

/**
 * The strengths as the selection text has them, or null where they are none; empty stays empty.
 * A comma is read as the decimal point that it is in many languages.
 * @param {string} text as somebody types it
 * @returns {string | null}
 */
export function levelsOf(text) {
  if (!text.trim()) return "";
  const levels = text.split(";").map((level) => level.trim().replace(",", "."));
  const fine = levels.every((level) => NUMBER.test(level) && Math.abs(level) <= MOST);
  return fine ? levels.join(";") : null;
}

/**
 * The strengths, each moved by this much and kept within the range.
 * @param {string} levels
 * @param {number} by
 * @returns {string}
 */
export function stepped(levels, by) {
  const moved = levels.split(";").map((level) => {
    const bounded = Math.max(-MOST, Math.min(MOST, Number(level) + by));
    return Number(bounded.toFixed(4));
  });
  return moved.join(";");
}
