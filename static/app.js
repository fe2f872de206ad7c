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

  // ---- Log: follow, trim, search --------------------------------------------------------------------------

  const MOST_LINES = 2000;
  const followBox = () => document.querySelector("[name=follow]");
  const findBox = () => document.querySelector(".log-bar [name=find]");
  let watchedLog = null;

  const logGrowth = new MutationObserver((changes) => {
    markHits(changes.flatMap((change) => [...change.addedNodes]).filter((node) => node.matches?.(".ln")));
    trimLog();
    followLog();
  });

  function watchLog() {
    const log = byId("log");
    if (log === watchedLog) return;
    logGrowth.disconnect();
    watchedLog = log;
    if (!log) return;
    logGrowth.observe(log, { childList: true });
    if (!location.hash && "follow" in log.dataset) log.scrollTop = log.scrollHeight;
  }

  // A log that the server sends again stays the element that it was (hx-preserve), but comes back scrolled to its top.
  let placeInLog = null;

  function rememberPlace({ detail }) {
    if (watchedLog && detail.target?.contains(watchedLog)) placeInLog = watchedLog.scrollTop;
  }

  function restorePlace() {
    if (placeInLog !== null && watchedLog.isConnected) watchedLog.scrollTop = placeInLog;
    placeInLog = null;
  }

  function followLog() {
    if (followBox()?.checked) watchedLog.scrollTop = watchedLog.scrollHeight;
  }

  // Reading upwards stops following; coming back to the end takes it up again.
  document.addEventListener("scroll", ({ target }) => {
    const box = followBox();
    if (!box || target !== watchedLog) return;
    box.checked = target.scrollHeight - target.scrollTop - target.clientHeight < 24;
  }, { capture: true, passive: true });

  // A link to a line that isn't in this part of the log: the server opens the part around it.
  function seekLine() {
    const line = location.hash.match(/^#L(\d+)$/)?.[1];
    if (!line || !byId("log") || byId(`L${line}`)) return;
    const url = new URL(location.href);
    if (url.searchParams.get("line") === line) return;      // there is no such line
    url.searchParams.set("line", line);
    url.searchParams.delete("before");
    location.replace(url);
  }

  const isBefore = (one, other) => one.compareDocumentPosition(other) & Node.DOCUMENT_POSITION_FOLLOWING;
  const lineNumber = (line) => Number(line.id.slice(1));

  // Where the part begins that stays. A page that fell far behind gets only the log's end: what was before the gap goes.
  // Where the log itself leaves bytes out it says so, and the numbers may jump.
  function firstKept(lines) {
    const last = lines.length - 1;
    const start = Math.max(0, lines.length - MOST_LINES);
    if (lineNumber(lines[last]) - lineNumber(lines[start]) === last - start) return start;
    for (let at = last; at > start; at--) {
      const isHole = lines[at].previousElementSibling.matches(".is-hole");
      if (!isHole && lineNumber(lines[at]) !== lineNumber(lines[at - 1]) + 1) return at;
    }
    return start;
  }

  function trimLog() {
    const lines = all(".ln[id^=L]", watchedLog);
    if (!lines.length) return;
    const kept = firstKept(lines);
    const first = lines[kept];
    const was = kept && first.offsetTop;
    if (kept) all(".ln", watchedLog).forEach((line) => isBefore(line, first) && line.remove());
    offerOlder(lineNumber(first));
    if (kept) watchedLog.scrollTop += first.offsetTop - was;    // what is being read stays where it is
  }

  function offerOlder(firstLine) {
    const link = byId("log-older");
    if (!link || firstLine <= 1) return;
    const url = new URL(link.href);
    url.searchParams.set("before", firstLine);
    url.hash = `L${firstLine - 1}`;
    link.href = url;
    link.textContent = `Show the ${firstLine - 1} lines before this`;
    link.hidden = false;
  }

  function markHits(lines) {
    const wanted = findBox()?.value.trim().toLowerCase();
    for (const line of lines) {
      const isHit = Boolean(wanted) && line.lastElementChild.textContent.toLowerCase().includes(wanted);
      line.classList.toggle("is-hit", isHit);
    }
  }

  function goToHit(step) {
    const hits = all(".ln.is-hit", watchedLog);
    const current = hits.findIndex((line) => line.hasAttribute("aria-current"));
    hits[current]?.removeAttribute("aria-current");
    const next = current < 0 ? 0 : (current + step + hits.length) % hits.length;
    if (hits.length) {
      hits[next].setAttribute("aria-current", "true");
      watchedLog.scrollTop = hits[next].offsetTop - watchedLog.offsetTop - watchedLog.clientHeight / 2;
    }
    const count = byId("find-count");
    if (count) count.textContent = findBox().value.trim() && `${hits.length && next + 1} of ${hits.length}`;
  }

  addEventListener("hashchange", seekLine);
  document.addEventListener("input", ({ target }) => {
    if (target !== findBox() || !watchedLog) return;
    all(".ln[aria-current]", watchedLog).forEach((line) => line.removeAttribute("aria-current"));
    markHits(all(".ln", watchedLog));
    goToHit(0);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.target !== findBox() || !watchedLog) return;
    event.preventDefault();           // the form asks the server, for those without script
    goToHit(event.shiftKey ? -1 : 1);
  });

  // ---- What a person is doing survives a swap: ticked boxes, open <details id>, focus ---------------------

  const picked = new Set();
  const opened = new Map();
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
    if (target.matches("[name=follow]")) followLog();
    if (!target.matches("input[data-bulk]")) return;
    pick(target, target.checked);
    paintPicked();
  });
  document.addEventListener("toggle", ({ target }) => {
    if (target.matches("details[id]")) opened.set(target.id, target.open);
  }, true);

  function rememberFocus() {
    const el = document.activeElement;
    if (el?.id) focused = { id: el.id, start: el.selectionStart, end: el.selectionEnd };
  }

  function restoreFocus() {
    const el = focused && byId(focused.id);
    if (el && document.activeElement === document.body) {
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
    restoreFocus();
    watchLog();
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
  on("htmx:oobBeforeSwap", rememberPlace);
  on("htmx:oobAfterSwap", restorePlace);
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
  let toldAttempt = null;
  let pending = null;                 // the timer of the next poll, or of the first
  let heardAt = serverNow();

  function logPosition() {
    const attempt = byId("log")?.dataset.attempt;
    return attempt ? { attempt_id: attempt, log_offset: Number(byId("log-offset")?.dataset.offset ?? 0) } : null;
  }

  // On opening, and when another attempt's log comes into the page.
  function tellLogPosition() {
    const position = logPosition();
    if (!isOpen || !position || position.attempt_id === toldAttempt) return;
    toldAttempt = position.attempt_id;
    socket.send(JSON.stringify(position));
  }

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
  on("htmx:responseError", ({ detail }) => { if (detail.xhr.status === 401) signInAgain(); });
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
    seekLine();
    if (!live) return;
    htmx.config.wsReconnectDelay = (tries) => Math.random() * Math.min(1000 * 2 ** tries, RECONNECT_WITHIN);
    expectSocket(FIRST_OPEN_WITHIN);
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start); else start();
})();
