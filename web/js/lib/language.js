// Which of the languages that we have the page speaks.

/**
 * The first of our languages that fits, English if none does.
 * @param {string} set the page's own setting
 * @param {string[]} offered what the page can be set to
 * @param {readonly string[]} browser what the browser prefers
 * @param {string[]} ours
 * @returns {string}
 */
export function languageFor(set, offered, browser, ours) {
  // A page that lacks the reader's language can only be set to English; the browser knows better.
  const first = primary(browser[0] ?? "");
  const lacked = set === "en" && !offered.map(primary).includes(first) ? [first] : [];
  const wanted = [...lacked, set, primary(set)];
  return wanted.find((language) => ours.includes(language)) ?? "en";
}

function primary(language) {
  return language.toLowerCase().split("-")[0];
}
