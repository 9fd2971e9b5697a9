// The keyboard in the picker: what stays there, and what the page gets.

import { app } from "../../../../scripts/app.js";

const COMMANDS = {
  "ctrl+z": "Comfy.Undo",
  "ctrl+shift+z": "Comfy.Redo",
  "ctrl+y": "Comfy.Redo",
  r: "Comfy.RefreshNodeDefinitions",
};

/**
 * Move between the check boxes with the arrow keys, and hand the page its own keys.
 * @param {HTMLElement} root
 * @param {HTMLElement} list what of it scrolls
 */
export function addKeys(root, list) {
  root.addEventListener("keydown", (event) => {
    const { target } = event;
    if (target.type === "checkbox") pageKey(event) || move(event, list);
    else if (target.type === "search") fromSearch(event, list);
    // The page would delete the node, or take a letter for a command.
    else if (/^(Delete|Backspace)$/.test(event.key) || target.tagName === "SELECT") {
      event.stopPropagation();
    }
  });
}

// The page leaves its keys to a focused input, but a check box has no use for these.
function pageKey(event) {
  const control = event.ctrlKey || event.metaKey ? "ctrl+" : "";
  const shift = event.shiftKey ? "shift+" : "";
  const command = !event.altKey && COMMANDS[control + shift + event.key.toLowerCase()];
  if (!command) return false;
  event.preventDefault();
  app.extensionManager.command.execute(command);
  return true;
}

function move(event, list) {
  const by = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
  if (!by) return;
  event.preventDefault();
  const boxes = boxesIn(list);
  const at = boxes.indexOf(event.target) + by;
  boxes[Math.max(0, Math.min(boxes.length - 1, at))].focus();
}

function fromSearch(event, list) {
  if (event.key === "ArrowDown") {
    event.preventDefault();
    boxesIn(list)[0]?.focus();
  }
  if (event.key === "Escape" && event.target.value) {
    // The page would close something of its own.
    event.stopPropagation();
    event.target.value = "";
    event.target.dispatchEvent(new Event("input", { bubbles: true }));
  }
}

function boxesIn(list) {
  return [...list.querySelectorAll("input[type=checkbox]:enabled")];
}
