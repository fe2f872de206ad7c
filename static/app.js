// What a page does besides what the server and htmx do. Every page works without it.
(() => {
  "use strict";

  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // ---- Theme: before the first paint, so that nothing flashes ---------------------------------------------

  const saved = document.cookie.match(/(?:^|; )theme=(light|dark)/);
  if (saved) root.dataset.theme = saved[1];

  const isDark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches && "dark")) === "dark";

  // ---- What a click does: <… data-do="name"> --------------------------------------------------------------

  const actions = {
    theme() {
      root.dataset.theme = isDark() ? "light" : "dark";
      document.cookie = `theme=${root.dataset.theme}; path=/; max-age=31536000; SameSite=Lax`;
    },
    dialog(el, event) {
      event.preventDefault();
      byId(el.hash.slice(1)).showModal();
    },
    close(el, event) {
      const box = el.closest("dialog");
      if (!box.open) return;          // opened by :target: let the link work
      event.preventDefault();
      box.close();
    },
    dismiss(el) { el.closest(".toast").remove(); },
    async copy(el) {
      await copyText(byId(el.dataset.of));
      const word = el.querySelector("span");
      word.textContent = "Copied";
      setTimeout(() => { word.textContent = "Copy"; }, 2000);
    },
    "pick-all"(el) {
      for (const box of boxes()) pick(box, el.checked);
      paintPicked();
    },
  };

  document.addEventListener("click", (event) => {
    const el = event.target.closest("[data-do]");
    if (el) actions[el.dataset.do](el, event);
  });

  async function copyText(el) {
    if (navigator.clipboard) return navigator.clipboard.writeText(el.textContent.trim());
    // Plain http off loopback has no clipboard, and that is where "Add a worker" is used.
    getSelection().selectAllChildren(el);
    document.execCommand("copy");
  }

  // Enter in a dialog's field that belongs to a form elsewhere means that dialog's button, not the form's first one.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !event.target.matches?.("dialog input[form]")) return;
    event.preventDefault();
    event.target.closest("dialog").querySelector("[type=submit]").click();
  });

  // A dialog whose form htmx sent has done its work.
  document.addEventListener("htmx:afterRequest", ({ detail }) => {
    if (detail.successful) detail.elt.closest("dialog[open]")?.close();
  });

  // ---- Times: <time datetime data-relative>, <… data-elapsed [data-until]>, <… data-countdown> ------------

  // Told by the server's clock. A laptop that is five minutes off would show every task as from the future.
  const firstByte = performance.getEntriesByType("navigation")[0]?.responseStart ?? performance.now();
  const skew = root.dataset.now ? Date.parse(root.dataset.now) - (performance.timeOrigin + firstByte) : 0;
  const serverNow = () => Date.now() + skew;
  const two = (number) => String(number).padStart(2, "0");

  // [up to this many seconds, seconds in one, its word, the word for several]
  const SPANS = [
    [60, 1, "s"], [3600, 60, "min"], [86400, 3600, "h"], [14 * 86400, 86400, "day", "days"],
    [61 * 86400, 7 * 86400, "week", "weeks"], [730 * 86400, 30.4375 * 86400, "month", "months"],
    [Infinity, 365.25 * 86400, "year", "years"],
  ];

  function relative(seconds) {
    const size = Math.abs(seconds);
    if (size < 1) return "now";
    const [, unit, one, several = one] = SPANS.find(([limit]) => size < limit);
    const count = Math.floor(size / unit);
    const words = `${count} ${count === 1 ? one : several}`;
    return seconds < 0 ? `in ${words}` : `${words} ago`;
  }

  function elapsed(seconds) {
    const s = Math.max(0, Math.floor(seconds));
    const min = Math.floor(s / 60);
    const h = Math.floor(min / 60);
    if (s < 60) return `${s} s`;
    if (min < 10) return `${min} min ${two(s % 60)} s`;
    if (min < 60) return `${min} min`;
    if (h < 24) return `${h} h ${two(min % 60)} min`;
    return `${Math.floor(h / 24)} d ${h % 24} h`;
  }

  // Whole seconds until then, each shown for as long as it lasts; a figure space keeps "9 s" as wide as "10 s".
  function countdown(seconds) {
    const left = Math.ceil(-seconds);
    if (left <= 0) return "now";
    return `in ${left < 60 ? `${String(left).padStart(2, "\u2007")} s` : elapsed(left)}`;
  }

  function paintTimes(selector = "time[data-relative], time[data-elapsed], time[data-countdown]") {
    for (const el of all(selector)) {
      const end = el.dataset.until ? Date.parse(el.dataset.until) : serverNow();
      const seconds = (end - Date.parse(el.dateTime)) / 1000;
      if (Number.isNaN(seconds)) continue;
      const paint = "elapsed" in el.dataset ? elapsed : "countdown" in el.dataset ? countdown : relative;
      const text = paint(seconds);
      if (el.textContent !== text) el.textContent = text;
    }
  }
  setInterval(() => paintTimes("time[data-elapsed], time[data-countdown]"), 1000);
  setInterval(() => paintTimes("time[data-relative]"), 5000);

  // ---- What a person is doing survives a swap: ticked boxes, open <details id>, an open dialog, focus ------

  const picked = new Set();
  const opened = new Map();
  let asked = null;                   // the dialog that was open
  let focused = null;

  const boxes = () => all("input[data-bulk]");

  function pick(box, isPicked) {
    box.checked = isPicked;
    if (isPicked) picked.add(box.value); else picked.delete(box.value);
  }

  function paintPicked() {
    const count = boxes().filter((box) => box.checked).length;
    for (const el of all("[data-bulk-count]")) el.textContent = `${count} selected`;
    for (const el of all("[data-do=pick-all]")) {
      el.checked = count > 0 && count === boxes().length;
      el.indeterminate = count > 0 && !el.checked;
    }
  }

  function restorePicked() {
    const present = new Set(boxes().map((box) => box.value));
    // What left the page isn't ticked any more: nobody cancels what they can't see.
    picked.forEach((value) => { if (!present.has(value)) picked.delete(value); });
    boxes().forEach((box) => { box.checked = picked.has(box.value); });
    paintPicked();
  }

  document.addEventListener("change", ({ target }) => {
    if (!target.matches("input[data-bulk]")) return;
    pick(target, target.checked);
    paintPicked();
  });
  document.addEventListener("toggle", ({ target }) => {
    if (target.matches("details[id]")) opened.set(target.id, target.open);
  }, true);

  function rememberFocus() {
    asked ??= document.querySelector("dialog[open]")?.id;
    const el = document.activeElement;
    if (el?.id) focused = { id: el.id, start: el.selectionStart, end: el.selectionEnd };
  }

  // One that lies in a fragment was replaced by what is known now: the question stays asked.
  function restoreAsked() {
    const box = asked && byId(asked);
    if (box && !box.open) box.showModal();
    asked = null;
  }

  function restoreFocus() {
    const el = focused && byId(focused.id);
    if (el && (document.activeElement === document.body || el.closest("dialog[open]"))) {
      el.focus({ preventScroll: true });
      if (focused.start != null) el.setSelectionRange(focused.start, focused.end);
    }
    focused = null;
  }

  function restoreOpened() {
    opened.forEach((isOpen, id) => { if (byId(id)) byId(id).open = isOpen; });
  }

  // ---- Title and favicon: <… id="page-state" data-title data-favicon> inside a live fragment --------------

  function paintState() {
    const { title, favicon } = byId("page-state")?.dataset ?? {};
    const icon = document.querySelector("link[rel~=icon]");
    if (title) document.title = title;
    if (favicon && icon.getAttribute("href") !== favicon) icon.href = favicon;
  }

  // ---- After each swap, once for all fragments of a message -----------------------------------------------

  let isScheduled = false;

  function refresh() {
    isScheduled = false;
    all("[data-needs-js]").forEach((el) => { el.hidden = false; });
    paintTimes();
    paintState();
    restorePicked();
    restoreOpened();
    restoreAsked();
    restoreFocus();
    document.dispatchEvent(new Event("page:refreshed"));    // log.js looks whether there is another log
    tellLogPosition();
  }

  // A microtask: before the next paint, and also in a tab that nobody looks at, whose title must still change.
  function scheduleRefresh() {
    if (isScheduled) return;
    isScheduled = true;
    queueMicrotask(refresh);
  }

  const on = (names, act) => names.split(" ").forEach((name) => document.addEventListener(name, act));
  on("htmx:oobBeforeSwap htmx:beforeSwap", rememberFocus);
  on("htmx:oobAfterSwap htmx:afterSwap htmx:wsAfterMessage", scheduleRefresh);

  // ---- Live connection: <… data-live hx-ext="ws" ws-connect data-poll-url> --------------------------------

  const POLL_EVERY = 5000;
  const FIRST_OPEN_WITHIN = 5000;
  const BANNER_AFTER = 2000;          // a restart of the server that is over by then moves nothing on the page
  const ANSWER_WITHIN = 15000;
  const RETRIED_BY_HTMX = [1006, 1011, 1012, 1013];
  const RECONNECT_WITHIN = 8000;      // htmx alone would wait up to a minute after a long outage

  let live = null;
  let socket = null;                  // htmx's wrapper: send(), reconnect()
  let isOpen = false;
  let isPolling = false;
  let hasGivenUp = false;             // htmx won't reconnect after this close
  let toldAttempt = null;             // whose log the server sends on
  let pending = null;                 // the timer of the next poll, or of the first
  let heardAt = serverNow();

  function logPosition() {
    const attempt = byId("log")?.dataset.attempt;
    return attempt ? { attempt_id: attempt, log_offset: Number(byId("log-offset")?.dataset.offset ?? 0) } : null;
  }

  // On opening, and when another log comes into the page, or a part of one that doesn't go on.
  function tellLogPosition() {
    const position = logPosition() ?? { attempt_id: null, log_offset: 0 };
    if (!isOpen || position.attempt_id === toldAttempt) return;
    toldAttempt = position.attempt_id;
    socket.send(JSON.stringify(position));
  }

  document.addEventListener("log:moved", () => {
    toldAttempt = toldAttempt && "";  // the same log may go on from another place
    tellLogPosition();
  });

  function showBanner(isLost) {
    const banner = byId("connection-lost");
    if (!banner) return;
    banner.hidden = !isLost;
    const time = banner.querySelector("time");
    if (time) time.dateTime = new Date(heardAt).toISOString();
    paintTimes();
  }

  function expectSocket(patience) {
    if (isPolling || pending) return;
    pending = setTimeout(() => {
      isPolling = true;
      showBanner(true);
      poll();
    }, patience);
  }

  async function poll() {
    const url = new URL(live.dataset.pollUrl, location.href);
    for (const [name, value] of Object.entries(logPosition() ?? {})) url.searchParams.set(name, value);
    const deadline = setTimeout(() => htmx.trigger(live, "htmx:abort"), ANSWER_WITHIN);
    try {
      await htmx.ajax("GET", url.pathname + url.search, { source: live, target: live, swap: "none" });
    } catch { /* the banner says it already */ }
    clearTimeout(deadline);
    if (isPolling) pending = setTimeout(poll, POLL_EVERY);
  }

  function stopPolling() {
    clearTimeout(pending);
    pending = null;
    isPolling = false;
    htmx.trigger(live, "htmx:abort");  // an answer on its way would append lines that the socket sends too
    showBanner(false);
  }

  // As a fresh GET, so that the server sends people to its login page and back to here.
  const signInAgain = () => location.replace(location.pathname + location.search);

  document.addEventListener("htmx:wsOpen", ({ detail }) => {
    socket = detail.socketWrapper;
    isOpen = true;
    toldAttempt = null;
    stopPolling();
    tellLogPosition();
  });
  document.addEventListener("htmx:wsClose", ({ detail }) => {
    socket = detail.socketWrapper;
    isOpen = false;
    hasGivenUp = !RETRIED_BY_HTMX.includes(detail.event.code);
    expectSocket(BANNER_AFTER);
  });
  on("htmx:wsAfterMessage", () => { heardAt = serverNow(); });
  on("htmx:responseError", ({ detail }) => {
    if (detail.xhr.status === 401) signInAgain();
    if (detail.xhr.status === 404 && detail.elt === live) location.reload();  // what it showed has gone: that is said there
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, requestConfig } = event.detail;
    if (requestConfig.elt !== live) return;
    if (new URL(xhr.responseURL).pathname === new URL(live.dataset.pollUrl, location.href).pathname) return;
    event.detail.shouldSwap = false;  // redirected: to the login page
    signInAgain();
  });
  document.addEventListener("htmx:afterRequest", ({ detail }) => {
    if (detail.elt !== live || !detail.successful) return;
    heardAt = serverNow();
    showBanner(isPolling);
    if (!hasGivenUp) return;
    hasGivenUp = false;
    socket.reconnect();
  });

  function start() {
    live = document.querySelector("[data-live][data-poll-url]");
    boxes().forEach((box) => { if (box.checked) picked.add(box.value); });
    refresh();
    // On a phone the tabs are wider than the page: show the one that is meant.
    const tab = document.querySelector(".tabs [aria-current]");
    if (tab) tab.parentElement.scrollLeft = tab.offsetLeft - tab.parentElement.offsetLeft - 16;
    if (!live) return;
    htmx.config.wsReconnectDelay = (tries) => Math.random() * Math.min(1000 * 2 ** tries, RECONNECT_WITHIN);
    expectSocket(FIRST_OPEN_WITHIN);
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start); else start();
})();
