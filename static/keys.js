// Keys for what is done often. The dialog that "?" opens is made from the same table, and turns them off: who dictates, or
// hits a key by accident, may not want them.
(() => {
  "use strict";

  const byId = (id) => document.getElementById(id);
  const all = (selector) => [...document.querySelectorAll(selector)].filter((el) => el.checkVisibility());
  const press = (selector) => () => document.querySelector(selector)?.click();
  const visit = (path) => () => location.assign(path);

  const KEYS = {
    "Go to": [
      ["g d", "Dashboard", press("#nav-dashboard")],
      ["g t", "Tasks", press("#nav-tasks")],
      ["g n", "New task", visit("/tasks/new")],
      ["g l", "Locks", visit("/locks")],
      ["g w", "Workers", press("#nav-workers")],
      ["g p", "Projects", press("#nav-projects")],
      ["g s", "Settings", press("#nav-settings")],
      ["g a", "API", press("#nav-api")],
    ],
    "In a list": [
      ["j", "Next row", () => moveRow(1)],
      ["k", "Row before", () => moveRow(-1)],
      ["x", "Tick the row, or untick it", tickRow],
      ["Enter", "Open the row"],
      ["/", "Search", search],
    ],
    "In a log": [
      ["f", "Follow its end, or stop", press("[name=follow]")],
      ["/", "Search"],
      ["n", "Next line found", press("[data-log=next-hit]")],
      ["p", "Line found before", press("[data-log=previous-hit]")],
    ],
    "Everywhere": [
      ["?", "Show these keys", show],
      ["Esc", "Close what is open"],
    ],
  };
  const acts = Object.fromEntries(Object.values(KEYS).flat().filter(([, , act]) => act).map(([keys, , act]) => [keys, act]));
  const PREFIX_LASTS = 1500;
  const TYPES = "input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]";

  const isOff = () => /(?:^|; )keys=off/.test(document.cookie);
  const turn = (isOn) => {
    document.cookie = `keys=${isOn ? "on" : "off"}; path=/; max-age=31536000; SameSite=Lax`;
  };

  function moveRow(by) {
    const rows = all("main .rows tbody tr");
    const now = rows.findIndex((row) => row.contains(document.activeElement));
    const next = rows[now < 0 ? (by > 0 ? 0 : rows.length - 1) : now + by];
    next?.querySelector(".row-link, a, button")?.focus();
  }

  function tickRow() {
    document.activeElement.closest("tr")?.querySelector("input[data-bulk]")?.click();
  }

  function search() {
    const [box] = all("main input[type=search]");
    box?.focus();
    box?.select();
  }

  // ---- The dialog -----------------------------------------------------------------------------------------

  function element(name, properties = {}, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  }

  function group([title, rows]) {
    const pairs = rows.flatMap(([keys, words]) => [
      element("dt", {}, ...keys.split(" ").flatMap((key) => [element("kbd", { textContent: key }), " "])),
      element("dd", { textContent: words }),
    ]);
    return element("section", {}, element("h3", { textContent: title }), element("dl", { className: "keys" }, ...pairs));
  }

  function made() {
    const box = element("input", { type: "checkbox", checked: !isOff(), id: "keys-on" });
    box.addEventListener("change", () => turn(box.checked));
    const close = element("button", { type: "button", className: "btn", textContent: "Close" });
    const dialog = element("dialog", { id: "keys", className: "is-wide" },
      element("h2", { id: "keys-h", textContent: "Keys" }),
      element("div", { className: "key-groups" }, ...Object.entries(KEYS).map(group)),
      element("div", { className: "actions" }, element("label", { className: "check" }, box, " Keys are on"), close));
    dialog.setAttribute("aria-labelledby", "keys-h");
    close.addEventListener("click", () => dialog.close());
    document.body.append(dialog);
    return dialog;
  }

  function show() {
    (byId("keys") ?? made()).showModal();
  }

  // ---- Never while somebody types, and nothing that the browser or a screen reader does with them ---------------

  let prefix = "";
  let forget = null;

  document.addEventListener("keydown", (event) => {
    const isTheirs = event.defaultPrevented || event.isComposing || event.ctrlKey || event.metaKey || event.altKey;
    if (isTheirs || event.target.closest?.(TYPES) || document.querySelector("dialog[open]") || isOff()) return;
    const act = acts[prefix + event.key];
    clearTimeout(forget);
    prefix = !act && !prefix && event.key === "g" ? "g " : "";
    if (prefix) forget = setTimeout(() => { prefix = ""; }, PREFIX_LASTS);
    if (!act) return;
    event.preventDefault();
    act();
  });

  document.addEventListener("click", ({ target }) => { if (target.closest("[data-keys]")) show(); });
})();
