// The rows of the picker: their groups, and what a search leaves of them.

import assert from "node:assert/strict";
import { test } from "node:test";

import { groups, left, roleOf, stateOf } from "../../web/js/lib/groups.js";

const file = (name, installed = true, downloadable = true) => ({
  file: name,
  installed,
  downloadable,
});
const pair = (pair_id, kind, more) => ({ pair_id, name: `Pair ${pair_id}`, kind, ...more });
const ANSWER = {
  pairs: [
    pair("s", "style", { both: file("sub/s.sft"), trigger: "p4per" }),
    pair("a", "accelerator", { high: file("a_high.sft"), low: file("a_low.sft") }),
    pair("o", "", { high: file("o.sft") }),
    pair("n", "new kind", { low: file("n.sft") }),
  ],
  detected: [{ pair_id: "d", name: "On disk", high: "d_high.sft", low: "d_low.sft", both: null }],
};
const JOB = { pair_id: "a" };
const named = (all) => all.map((group) => ({ ...group, name: group.key }));
const ids = (all) => all.map(({ key, rows }) => [key, rows.map((row) => row.id).join(" ")]);

test("groups are the choices that the catalog lacks, its pairs by kind, and what else is there", () => {
  const all = groups(ANSWER, "gone@2, s@0.6:1", [JOB]);
  assert.deepEqual(ids(all), [
    ["missing", "gone"],
    ["accelerator", "a"],
    ["style", "s"],
    ["other", "o n"],
    ["detected", "d"],
  ]);
  const [[gone], [a], [s]] = all.map((group) => group.rows);
  assert.deepEqual([gone.choice.strength, gone.lost], ["2", true]);
  assert.deepEqual([a.choice, a.job], [undefined, JOB]);
  assert.equal(s.choice.strength, "0.6:1");
});

test("before the catalog is known, its lacks are not", () => {
  const [{ key, rows }, ...rest] = groups(null, "gone@0.5");
  assert.deepEqual([key, rows[0].id, rows[0].lost, rest.length], ["chosen", "gone", false, 0]);
});

test("a search finds names, ids, files, trigger words and groups, each word of it", () => {
  const all = named(groups(ANSWER, "gone, s"));
  const table = [
    ["", "gone a s o n d"],
    ["pair", "a s o n"],
    ["PAIR  a_low", "a"],
    ["p4per", "s"],
    ["sub/", "s"],
    ["accelerator", "a"],
    ["gone", "gone"],
    ["d_high", "d"],
    ["nothing like it", ""],
  ];
  for (const [search, expected] of table) {
    const { shown, count } = left(all, search, false, 99);
    const rows = shown.flatMap((group) => group.rows);
    assert.equal(rows.map((row) => row.id).join(" "), expected);
    assert.equal(count, rows.length);
  }
});

test("only the chosen rows are left, and only the first of many", () => {
  const all = named(groups(ANSWER, "gone, s"));
  assert.deepEqual(ids(left(all, "", true, 99).shown), [
    ["missing", "gone"],
    ["style", "s"],
  ]);
  const { shown, count } = left(all, "", false, 4);
  assert.deepEqual(ids(shown), [
    ["missing", "gone"],
    ["accelerator", "a"],
    ["style", "s"],
    ["other", "o"],
  ]);
  assert.equal(count, 6);
});

test("the roles of a pair are those that it has files for", () => {
  assert.deepEqual(ANSWER.pairs.map(roleOf), ["both", "pair", "only_high", "only_low"]);
});

test("a pair can be fetched when all that is not here can be", () => {
  const table = [
    [{ installed: true, high: file("h"), low: file("l") }, "installed"],
    [{ high: file("h", true, false), low: file("l", false, true) }, "downloadable"],
    [{ high: file("h", false, false), low: file("l", false, true) }, "missing"],
    [{ both: file("b", false, false) }, "missing"],
  ];
  for (const [pair, state] of table) assert.equal(stateOf(pair), state);
});
