// What is wrong with the user's catalog: how many places, and the first of them.

import { make } from "./page.js";
import { t } from "./texts.js";

const MOST = 5;

/**
 * The list of problems, closed, and hidden while there are none.
 * @returns {{element: HTMLElement, draw: (problems: string[]) => void}}
 */
export function problemList() {
  const element = make("details", { className: "dualpass-problems", hidden: true });
  const draw = (problems) => {
    const texts = problems.slice(0, MOST);
    const rest = problems.length - texts.length;
    if (rest) texts.push(t("more_problems", { count: rest }));
    const summary = make("summary", {}, t("catalog_problems", { count: problems.length }));
    const items = texts.map((text) => make("li", {}, text));
    element.replaceChildren(summary, make("ul", {}, ...items));
    element.hidden = !problems.length;
  };
  return { element, draw };
}
