// A download on its row: how far it is, and the button that stops it.

import { clockText, percentOf, sizeText } from "./format.js";
import { make } from "./page.js";
import { spoken, t } from "./texts.js";

/**
 * The line of a download.
 * @param {(job: string) => void} cancel
 * @returns {{element: HTMLElement, draw: (job: object, name: string) => void}}
 */
export function downloadLine(cancel) {
  const bar = make("progress", { max: 100 });
  const text = make("span", { className: "dualpass-dim" });
  const stop = make("button", { type: "button" }, "×");
  const element = make("div", { className: "dualpass-download" }, bar, text, stop);
  let id = "";
  stop.addEventListener("click", () => cancel(id));

  const draw = (job, name) => {
    const percent = percentOf(job);
    id = job.id;
    bar.ariaLabel = t("download_progress", { name });
    stop.ariaLabel = stop.title = t("cancel_download", { name });
    text.textContent = progressText(job, percent);
    // Without a value it shows that nobody knows.
    if (percent === null) bar.removeAttribute("value");
    else bar.value = percent;
  };
  return { element, draw };
}

function progressText(job, percent) {
  if (job.state === "waiting") return t("download_waiting");
  const parts = [
    percent === null ? sizeText(job.done, spoken()) : `${percent} %`,
    job.speed && t("download_rate", { speed: sizeText(job.speed, spoken()) }),
    job.left != null && t("download_left", { time: clockText(job.left) }),
  ];
  return parts.filter(Boolean).join(" · ");
}
