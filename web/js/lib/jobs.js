// The downloads of the server, asked about each second while one is under way.

import { ask, post } from "./server.js";

const PAUSE = 1000; // ms
const seen = new Set(); // ids of the jobs that were under way while this page looked
let timer = 0;
let asking = null;

const isActive = (job) => job.state === "waiting" || job.state === "running";

/**
 * Ask about the downloads, now and for as long as one is under way.
 * @param {(shown: object[], ended: object[]) => void} tell gets the downloads to show, and those
 *   that ended since the last time
 */
export function followJobs(tell) {
  asking ??= ask("/dualpass/jobs").then(
    (jobs) => hear(jobs, tell),
    () => seen.size && pause(tell),
  );
}

function hear(jobs, tell) {
  asking = null;
  const ended = jobs.filter((job) => !isActive(job) && seen.delete(job.id));
  const active = jobs.filter(isActive);
  for (const job of active) seen.add(job.id);
  tell(active, ended);
  if (active.length) pause(tell);
}

function pause(tell) {
  asking = null;
  clearTimeout(timer);
  timer = setTimeout(followJobs, PAUSE, tell);
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
