// The selection text: read, ticked, shown.

import assert from "node:assert/strict";
import { test } from "node:test";

import { choices, rows, textOf, ticked } from "../../web/js/lib/selection.js";

const PAIRS = [
  { pair_id: "a", name: "Pair A", high: "a_high.sft", low: "a_low.sft", both: null },
  { pair_id: "b", name: "Pair B", high: null, low: null, both: "b.sft" },
];

test("any stored value stands for a text", () => {
  const table = [
    ["a, b", "a, b"],
    ["  ", "  "],
    [null, ""],
    [undefined, ""],
    [[], ""],
    [["a", "b@0.5"], "a, b@0.5"],
    [["a", null, ["b"]], "a, b"],
    [{ __value__: ["a", "b"] }, "a, b"],
    [{ __value__: "a" }, "a"],
    [5, "5"],
    [false, "false"],
    [{ a: 1 }, '{"a":1}'],
  ];
  for (const [value, text] of table) assert.equal(textOf(value), text);
});

test("choices keep their order and their pieces", () => {
  assert.deepEqual(choices(" b@0.6 : 1 ,,a, c@1;0.5"), [
    { id: "b", strength: "0.6 : 1", piece: "b@0.6 : 1" },
    { id: "a", strength: "", piece: "a" },
    { id: "c", strength: "1;0.5", piece: "c@1;0.5" },
  ]);
});

test("a tick appends, and changes nothing else", () => {
  const table = [
    ["", "a", true, "a"],
    ["b@0.6:1", "a", true, "b@0.6:1, a"],
    ["b@0.6:1,a", "a", true, "b@0.6:1,a"],
    ["gone@2, a, b@1;0.5:1", "a", false, "gone@2, b@1;0.5:1"],
    ["a, a@2", "a", false, ""],
    ["@@, ab", "a", false, "@@, ab"],
  ];
  for (const [text, id, on, expected] of table) assert.equal(ticked(text, id, on), expected);
});

test("rows are the choices that the catalog lacks, then its pairs", () => {
  assert.deepEqual(rows(PAIRS, "gone@2, b@0.6:1"), [
    { id: "gone", name: "gone", files: "", on: true, note: "(not in catalog) 2" },
    {
      id: "a",
      name: "Pair A",
      files: "high: a_high.sft\nlow: a_low.sft",
      on: false,
      note: "",
    },
    { id: "b", name: "Pair B", files: "both: b.sft", on: true, note: "high 0.6, low 1" },
  ]);
});

test("before the catalog is known, its lacks are not", () => {
  const [row] = rows(null, "gone@0.5");
  assert.deepEqual([row.name, row.on, row.note], ["gone", true, "0.5"]);
});
