// The downloads of the server, asked about each second while one is under way.

import { ask, post } from "./server.js";

const PAUSE = 1000; // ms
const seen = new Set(); // ids of the jobs that were under way while this page looked
let timer = 0;
let asking = false;
let again = false; // asked to look while a question was under way, which may know less

const isActive = (job) => job.state === "waiting" || job.state === "running";

/**
 * Ask about the downloads, now and for as long as one is under way.
 * @param {(shown: object[], ended: object[]) => void} tell gets the downloads to show, and those
 *   that ended since the last time
 */
export function followJobs(tell) {
  again = asking;
  if (asking) return;
  asking = true;
  const known = [...seen];
  ask("/dualpass/jobs").then(
    (jobs) => hear(jobs, known, tell),
    () => goOn(seen.size, tell),
  );
}

function hear(jobs, known, tell) {
  const ended = jobs.filter((job) => !isActive(job) && seen.delete(job.id));
  const active = jobs.filter(isActive);
  // A server that was started anew has forgotten its downloads.
  for (const id of known) if (!jobs.some((job) => job.id === id)) seen.delete(id);
  for (const job of active) seen.add(job.id);
  goOn(active.length, tell);
  tell(active, ended);
}

function goOn(more, tell) {
  asking = false;
  clearTimeout(timer);
  if (again) followJobs(tell);
  else if (more) timer = setTimeout(followJobs, PAUSE, tell);
}

/**
 * Download a pair.
 * @returns {Promise<object>} the job
 * @throws {Error} as `post` does
 */
export async function startJob(baseModel, pairId) {
  const job = await post("/dualpass/fetch", { base_model: baseModel, pair_id: pairId });
  seen.add(job.id);
  return job;
}

/** Stop a download. */
export function cancelJob(job) {
  return post("/dualpass/cancel", { job });
}
