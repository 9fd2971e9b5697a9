// What our widgets need of ComfyUI's page, in both of its renderers.

import { app } from "../../../../scripts/app.js";

/**
 * An element with these properties and children; text stays text.
 * @param {string} tag
 * @param {object} [properties]
 * @param {...(Node | string)} children
 */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/**
 * Make these the children of an element; those that stay are not moved, so they keep the focus.
 * @param {HTMLElement} parent
 * @param {HTMLElement[]} children
 */
export function place(parent, children) {
  const stay = new Set(children);
  for (const child of [...parent.children]) if (!stay.has(child)) child.remove();
  let next = parent.firstElementChild;
  for (const child of children) {
    if (child === next) next = next.nextElementSibling;
    else parent.insertBefore(child, next);
  }
}

/**
 * Do something slow at a click, and take no other click until it is done.
 * @param {HTMLButtonElement} button stays enabled, since it would lose the focus
 * @param {() => Promise<void>} run
 */
export function onClick(button, run) {
  button.addEventListener("click", async () => {
    if (button.ariaBusy === "true") return;
    button.ariaBusy = "true";
    try {
      await run();
    } finally {
      button.ariaBusy = "false";
    }
  });
}

/**
 * Call `run` after whatever `owner` does in this hook of its own.
 * @param {object} owner a node or a widget
 * @param {string} hook
 * @param {Function} run gets the arguments of the hook
 */
export function after(owner, hook, run) {
  const earlier = owner[hook];
  owner[hook] = function (...args) {
    const result = earlier?.apply(this, args);
    run(...args);
    return result;
  };
}

/**
 * Each node of a graph and of the subgraphs in it, with the id that it runs under.
 * @param {object} graph
 * @param {string} [path] the id of the node that holds this graph, and a colon
 * @returns {[string, object][]}
 */
export function allNodes(graph, path = "") {
  return graph.nodes.flatMap((node) => {
    const inner = node.isSubgraphNode?.() ? allNodes(node.subgraph, `${path}${node.id}:`) : [];
    return [[`${path}${node.id}`, node], ...inner];
  });
}

/**
 * Add an element to a node as a widget that behaves in the page.
 * @param {object} node
 * @param {string} name
 * @param {string} type
 * @param {HTMLElement} element scrolls, or holds what scrolls
 * @param {object} options of the DOM widget
 */
export function addElement(node, name, type, element, options) {
  const widget = node.addDOMWidget(name, type, element, { hideInPanel: true, ...options });
  element.dataset.dualpass = name;
  // In Nodes 2.0: scroll what has the focus, and zoom otherwise.
  element.dataset.captureWheel = "true";
  forwardPointer(element);
  remount(node, widget);
  addStyle();
  return widget;
}

function forwardPointer(element) {
  element.addEventListener("wheel", (event) => {
    const stays = !event.ctrlKey && scrolls(event.target, element);
    // Nodes 2.0 sends the wheel on by itself.
    if (stays || element.closest("[data-node-id]")) return;
    event.preventDefault();
    app.canvas.processMouseWheel(event);
  });
  const hooks = { down: "processMouseDown", move: "processMouseMove", up: "processMouseUp" };
  for (const [step, hook] of Object.entries(hooks)) {
    element.addEventListener(`pointer${step}`, (event) => {
      if (event.button === 1 || event.buttons & 4) app.canvas[hook](event);
    });
  }
}

function scrolls(target, element) {
  for (let part = target; element.contains(part); part = part.parentElement) {
    const { overflowY } = getComputedStyle(part);
    if (overflowY === "auto" && part.scrollHeight > part.clientHeight) return true;
  }
  return false;
}

// Undo rebuilds the nodes, but Nodes 2.0 keeps the elements of the old ones on screen.
function remount(node, widget) {
  const swap = () => {
    if (widget.element.isConnected) return;
    const stale = `[data-node-id="${node.id}"] [data-dualpass="${widget.name}"]`;
    document.querySelector(stale)?.replaceWith(widget.element);
  };
  requestAnimationFrame(() => requestAnimationFrame(swap));
}

function addStyle() {
  const id = "dualpass-style";
  if (document.getElementById(id)) return;
  const href = new URL("style.css", import.meta.url).href;
  document.head.append(make("link", { id, rel: "stylesheet", href }));
}
