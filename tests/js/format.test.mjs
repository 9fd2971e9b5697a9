// Sizes, times and languages.

import assert from "node:assert/strict";
import { test } from "node:test";

import { clockText, percentOf, sizeText } from "../../web/js/lib/format.js";
import { languageFor } from "../../web/js/lib/language.js";

test("sizes have three digits and the unit of the language", () => {
  const table = [
    [1374118048, "en", "1.37 GB"],
    [1374118048, "de", "1,37 GB"],
    [1374118048, "fr", "1,37 Go"],
    [96792, "en", "96.8 kB"],
    [1e9, "en", "1 GB"],
    [0, "en", "0 byte"],
    [null, "en", ""],
    [undefined, "en", ""],
  ];
  for (const [bytes, language, text] of table) {
    assert.equal(sizeText(bytes, language).replace(/\s/, " "), text);
  }
});

test("times look as on a clock", () => {
  const table = [[0, "0:00"], [65.4, "1:05"], [3605, "1:00:05"], [-3, "0:00"]]; // prettier-ignore
  for (const [seconds, text] of table) assert.equal(clockText(seconds), text);
});

test("a download never looks done before it is", () => {
  const table = [[0, 100, 0], [995, 1000, 99], [1000, 1000, 100], [5, null, null]]; // prettier-ignore
  for (const [done, size, percent] of table) assert.equal(percentOf({ done, size }), percent);
});

test("the page's language counts, and the browser's where the page lacks it", () => {
  const ours = ["en", "de", "fr", "ja", "zh"];
  const page = ["en", "zh", "zh-TW", "ja", "fr", "pt-BR"];
  const table = [
    ["en", ["en-US"], "en"],
    ["fr", ["de-DE"], "fr"],
    ["zh", ["en"], "zh"],
    ["zh-TW", ["zh-TW"], "zh"],
    ["pt-BR", ["pt-BR"], "en"],
    ["en", ["de-CH", "fr"], "de"],
    ["en", ["fr-FR"], "en"],
    ["en", ["sv", "de"], "en"],
    ["en", [], "en"],
  ];
  for (const [set, browser, language] of table) {
    assert.equal(languageFor(set, page, browser, ours), language, `${set} ${browser}`);
  }
  assert.equal(languageFor("fr", page, [], []), "en");
});
