// What the selection will run: steps, cfg, shift and the step of the hand-over, as the server says.

import { make } from "./page.js";
import { ask } from "./server.js";
import { t } from "./texts.js";

const PAUSE = 150; // ms: several clicks, one question

/**
 * The line that tells what will run.
 * @returns {{element: HTMLElement, show: (baseModel: string, text: string) => void}}
 */
export function planLine() {
  const label = t("plan_title");
  const element = make("div", { className: "dualpass-plan", role: "group", ariaLabel: label });
  element.ariaLive = "polite";
  let timer = 0;
  let asked = "";

  const answer = async (question) => {
    const lines = await ask(question).then(planLines, ({ message }) => [
      line("error", t("plan_failed", { error: message })),
    ]);
    // The newest question counts.
    if (question === asked) element.replaceChildren(...lines);
  };

  const show = (baseModel, text) => {
    const selection = encodeURIComponent(text);
    asked = `/dualpass/plan/${encodeURIComponent(baseModel)}?selection=${selection}`;
    clearTimeout(timer);
    timer = setTimeout(answer, PAUSE, asked);
  };
  return { element, show };
}

function planLines(plan) {
  const warnings = plan.warnings.map((text) => line("warning", t("note", { text })));
  if (plan.problem) return [line("error", t("problem", { text: plan.problem })), ...warnings];
  return [line("steps", planText(plan)), ...warnings];
}

function planText(plan) {
  const { cfg_high: high, cfg_low: low, steps, switch_step: split } = plan;
  const cfg = high === low ? high : `${high} / ${low}`;
  return t("plan", { ...plan, cfg, high: split, low: steps - split });
}

function line(kind, text) {
  return make("p", { className: `dualpass-${kind}` }, text);
}
