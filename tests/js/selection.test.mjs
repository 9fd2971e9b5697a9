// The selection text: read, ticked, weighted.

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  choices, restored, rivals, strengthsOf, textOf, ticked, weighted,
} from "../../web/js/lib/selection.js";

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
    [{ __value__: "" }, ""],
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

test("what was taken out comes back with its strengths, and once", () => {
  const table = [
    ["b, c", "a@0.6:1, b", ["a"], "b, c, a@0.6:1"],
    ["", "a@2, b", ["a", "b"], "a@2, b"],
    ["a, c", "a@0.6", ["a"], "a, c"],
    ["c", "b", ["a"], "c"],
  ];
  for (const [text, earlier, ids, expected] of table) {
    assert.equal(restored(text, earlier, ids), expected);
  }
});

test("one strength serves both passes", () => {
  assert.deepEqual(strengthsOf(""), { high: "", low: "" });
  assert.deepEqual(strengthsOf("0.6"), { high: "0.6", low: "0.6" });
  assert.deepEqual(strengthsOf("1;0.5 : 0"), { high: "1;0.5", low: "0" });
});

test("strengths are written as short as they may be, into their own choice only", () => {
  const pair = { high: 1, low: 0.5 };
  const half = { high: 1, low: null };
  const table = [
    [{ high: "0.6", low: "1" }, pair, "b@2, a@0.6:1, c"],
    [{ high: "0.6", low: "0.6" }, pair, "b@2, a@0.6, c"],
    [{ high: "1;0", low: "" }, pair, "b@2, a@1;0:0.5, c"],
    [{ high: "", low: "0" }, pair, "b@2, a@1:0, c"],
    [{ high: "", low: "" }, pair, "b@2, a, c"],
    [{ high: "0.6", low: "" }, half, "b@2, a@0.6, c"],
    [{ high: "", low: "" }, half, "b@2, a, c"],
  ];
  for (const [strengths, recommended, expected] of table) {
    assert.equal(weighted("b@2,a@9, c", "a", strengths, recommended), expected);
  }
});

test("an accelerator has those as rivals that act on a pass that it acts on", () => {
  const pair = (pair_id, high, low, kind = "accelerator") => ({
    pair_id,
    kind,
    strength: { high, low },
  });
  const pairs = [
    pair("a", 1, 1),
    pair("b", 1, 1),
    pair("h", 1, null),
    pair("l", null, 1),
    pair("s", 1, 1, "style"),
  ];
  const table = [
    ["b, s, a", "a", "b"],
    ["b, h, l@0.5", "a", "b h l"],
    ["s", "a", ""],
    ["a, b", "s", ""],
    ["a, b", "gone", ""],
    ["h", "l", ""],
    ["a@1:0", "l", ""],
    ["a@1:0", "h", "a"],
    ["a@0;1:0", "h", "a"],
  ];
  for (const [text, id, expected] of table) {
    const found = rivals(pairs, text, id).map((pair) => pair.pair_id);
    assert.equal(found.join(" "), expected, `${text} + ${id}`);
  }
});
