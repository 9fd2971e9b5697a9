// What the controls of a picker do.

import { copied } from "./clipboard.js";
import { cancelJob, startJob } from "./jobs.js";
import { make } from "./page.js";
import { forgetPairs } from "./pairs.js";
import { restored, rivals, ticked, weighted } from "./selection.js";
import { post } from "./server.js";
import { t } from "./texts.js";

/**
 * The actions on a picker, by name.
 * @param {object} picker
 * @returns {object}
 */
export function actionsFor(picker) {
  const say = (...message) => picker.view.say(...message);
  const attempt = (doing, key, name) =>
    doing.catch((error) => say(t(key, { name, error: error.message })));
  return {
    baseModel: () => picker.baseModel.value,
    text: () => picker.text,
    say,
    choose: (id, on) => choose(picker, id, on),
    weigh: (pair, strengths, soon) => {
      picker.edit(weighted(picker.text, pair.pair_id, strengths, pair.strength), soon);
    },
    apply: (text, message) => {
      picker.edit(text);
      picker.view.closePanel();
      say(message);
    },
    copy: async (text) => say((await copied(text)) ? t("copied", { text }) : t("copy_failed")),
    adopt: (found) => attempt(adopt(picker, found), "add_failed", found.name),
    fetch: ({ pair_id: id, name }) => {
      say();
      const started = startJob(picker.baseModel.value, id).then(() => picker.follow());
      return attempt(started, "download_failed", name);
    },
    cancel: (job) => attempt(cancelJob(job).then(() => picker.follow()), "failed"),
  };
}

function choose(picker, id, on) {
  const { answer, text } = picker;
  const pairs = answer?.pairs ?? [];
  const replaced = on ? rivals(pairs, text, id) : [];
  const ids = replaced.map((pair) => pair.pair_id);
  const others = ids.reduce((rest, rival) => ticked(rest, rival, false), text);
  picker.edit(ticked(others, id, on));
  if (!ids.length) return;
  const both = make("button", { type: "button" }, t("keep_both"));
  both.addEventListener("click", () => {
    picker.edit(restored(picker.text, text, ids));
    picker.view.list.focus(id);
  });
  const { name } = pairs.find((pair) => pair.pair_id === id);
  const old = replaced.map((pair) => pair.name).join(", ");
  picker.view.say(`${t("replaced", { name, old })} `, both);
}

async function adopt(picker, { pair_id: id, name }) {
  await post("/dualpass/adopt", { base_model: picker.baseModel.value, pair_id: id });
  forgetPairs();
  await picker.load();
  picker.view.list.focus(id);
  picker.view.say(t("added", { name }));
}
