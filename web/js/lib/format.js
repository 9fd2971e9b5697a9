// Sizes and times for eyes.

const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];
const formats = new Map();

/**
 * A number of bytes with three digits and its unit (1 kB is 1000 bytes), empty for null.
 * @param {number | null} bytes
 * @param {string} [language]
 * @returns {string}
 */
export function sizeText(bytes, language = "en") {
  if (bytes == null) return "";
  const power = Math.min(4, Math.floor(Math.log10(Math.max(bytes, 1)) / 3 + 1e-9));
  return formatOf(language, UNITS[power]).format(bytes / 1000 ** power);
}

// Making one costs more than using it a thousand times.
function formatOf(language, unit) {
  const key = `${language} ${unit}`;
  const options = { style: "unit", unit, maximumSignificantDigits: 3 };
  if (!formats.has(key)) formats.set(key, new Intl.NumberFormat(language, options));
  return formats.get(key);
}

/**
 * Seconds as a clock shows them, `1:05` or `1:00:05`.
 * @param {number} seconds
 * @returns {string}
 */
export function clockText(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const [first, ...rest] = parts[0] ? parts : parts.slice(1);
  return [first, ...rest.map((part) => `${part}`.padStart(2, "0"))].join(":");
}

/**
 * How much of a download is there, from 0 to 100; null while the whole is not known.
 * @param {{done: number, size: number | null}} job
 * @returns {number | null}
 */
export function percentOf({ done, size }) {
  return size ? Math.min(100, Math.floor((done / size) * 100)) : null;
}
