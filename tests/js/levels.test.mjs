// Strengths as they are typed.

import assert from "node:assert/strict";
import { test } from "node:test";

import { levelsOf, stepped } from "../../web/js/lib/levels.js";

test("a strength is a number within the range, or one for each step", () => {
  const table = [
    ["0.6", "0.6"],
    [" 1 ; 0,5;.25 ", "1;0.5;.25"],
    ["-1e-1", "-1e-1"],
    ["10", "10"],
    ["", ""],
    ["  ", ""],
    ["10.5", null],
    ["1;", null],
    ["1:0.5", null],
    ["1.000,5", null],
    ["0x1", null],
    ["Infinity", null],
    ["abc", null],
  ];
  for (const [typed, levels] of table) assert.equal(levelsOf(typed), levels, typed);
});

test("a step moves each strength, without the noise of binary fractions", () => {
  const table = [
    ["1", 0.05, "1.05"],
    ["0.1;1", -0.05, "0.05;0.95"],
    ["0.3", -0.25, "0.05"],
    ["0.05", -0.05, "0"],
    ["9.9;-9.9", 0.25, "10;-9.65"],
  ];
  for (const [levels, by, expected] of table) assert.equal(stepped(levels, by), expected);
});
