// The log in the page of a task: follows its end, never holds more than a window of it, fetches another part when that is
// asked for, and asks the server for the lines that have a text. Every part of it is a link or a form without this.
(() => {
  "use strict";

  const MOST_LINES = 2000;
  const byId = (id) => document.getElementById(id);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const followBox = () => document.querySelector("[name=follow]");
  const findBox = () => byId("find");
  const lineNumber = (line) => Number(line.id.slice(1));
  let log = null;                     // the one that is watched: the page of a task may get another
  let section = null;                 // what stands around it

  const isAtEnd = () => "follow" in log.dataset;

  const growth = new MutationObserver((changes) => {
    const added = changes.flatMap((change) => [...change.addedNodes]).filter((node) => node.matches?.(".ln"));
    // Two answers that crossed, a part of the log and what it has more, may hold the same line.
    for (const line of added) if (line.id && byId(line.id) !== line) line.remove();
    markHits(added);
    trim();
    follow();
  });

  function watch() {
    if (byId("log") === log) return clearLate();
    growth.disconnect();
    log = byId("log");
    if (!log) return;
    growth.observe(log, { childList: true });
    if (!location.hash && isAtEnd()) log.scrollTop = log.scrollHeight;
    const around = log.closest(".log-box");
    if (around !== section) readHits();
    section = around;
    markHits(all(".ln", log));
  }

  // What was on its way when the page left the log's end: it belongs to no part that is shown.
  function clearLate() {
    for (const line of all("#log-late .ln[id^=L]")) line.remove();
  }

  // A log that the server sends again stays the element that it was (hx-preserve), but comes back scrolled to its top.
  let place = null;

  document.addEventListener("htmx:oobBeforeSwap", ({ detail }) => {
    if (log && detail.target?.contains(log)) place = { top: log.scrollTop, left: log.scrollLeft };
  });
  document.addEventListener("htmx:oobAfterSwap", () => {
    if (place && log.isConnected) log.scrollTo({ ...place, behavior: "instant" });
    place = null;
  });

  // ---- Follow --------------------------------------------------------------------------------------------

  function follow() {
    if (followBox()?.checked) log.scrollTop = log.scrollHeight;
  }

  document.addEventListener("change", ({ target }) => {
    if (target !== followBox() || !log) return;
    if (target.checked && !isAtEnd()) goToEnd(); else follow();
  });

  // Reading upwards stops following; coming back to the end takes it up again.
  document.addEventListener("scroll", ({ target }) => {
    const box = followBox();
    if (!box || target !== log) return;
    box.checked = isAtEnd() && target.scrollHeight - target.scrollTop - target.clientHeight < 24;
  }, { capture: true, passive: true });

  // ---- Never more than a window ---------------------------------------------------------------------------

  const isBefore = (one, other) => one.compareDocumentPosition(other) & Node.DOCUMENT_POSITION_FOLLOWING;

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

  function trim() {
    const lines = all(".ln[id^=L]", log);
    if (!lines.length) return;
    const kept = firstKept(lines);
    const first = lines[kept];
    const was = kept && first.offsetTop;
    if (kept) all(".ln", log).forEach((line) => isBefore(line, first) && line.remove());
    offerOlder(lineNumber(first));
    if (kept) log.scrollTop += first.offsetTop - was;    // what is being read stays where it is
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

  // ---- Another part of the log, in place ------------------------------------------------------------------

  let opening = null;

  function addressOf(changes) {
    const url = new URL(location.href);
    url.hash = "";
    const attempt = document.querySelector(".log-bar [name=attempt]")?.value;
    for (const [name, value] of Object.entries({ attempt, find: findBox()?.value.trim(), from: "", ...changes })) {
      if (value) url.searchParams.set(name, value); else url.searchParams.delete(name);
    }
    return url;
  }

  const parsed = (html) => new DOMParser().parseFromString(html, "text/html").body.firstElementChild;

  async function ask(what, url, signal) {
    const answer = await fetch(`${url.pathname}/log/${what}${url.search}`, { signal, headers: { "HX-Request": "true" } });
    if (answer.ok) return parsed(await answer.text());
    location.assign(url);             // the page says what is wrong, or asks to sign in
    throw new DOMException("Refused", "AbortError");
  }

  // A part that is asked for while another is on its way takes its place: true if it was this one that came.
  async function open(url) {
    opening?.abort();
    opening = new AbortController();
    const { signal } = opening;
    try {
      const part = await ask("window", url, signal);
      const hadFocus = byId("log-window").contains(document.activeElement);
      byId("log-window").replaceWith(part);
      history.replaceState(null, "", url.pathname + url.search);
      watch();
      if (followBox()) followBox().checked = isAtEnd() && !url.hash;
      const line = url.hash && lineAt(Number(url.hash.slice(2)));
      if (line) location.replace(`#${line.id}`);
      if (hadFocus) log.focus({ preventScroll: true });
      document.dispatchEvent(new Event("log:moved"));
      return true;
    } catch (error) {
      if (error.name !== "AbortError") location.assign(url);
      return false;
    }
  }

  // The line itself, or where there is none (left out, or not yet written) the one before it: an address that leads to
  // nothing would be asked for again and again.
  const lineAt = (number) => byId(`L${number}`) ?? all(".ln[id^=L]", log).filter((line) => lineNumber(line) < number).at(-1);

  const goToEnd = () => open(addressOf({ line: "", before: "" }));

  function goToLine(number) {
    const hash = `#L${number}`;
    if (byId(`L${number}`)) return location.replace(hash);
    const url = addressOf({ line: number, before: "" });
    url.hash = hash;
    return open(url);
  }

  function seekLine() {
    const number = location.hash.match(/^#L(\d+)$/)?.[1];
    if (log && number && !byId(`L${number}`)) goToLine(number);
  }
  addEventListener("hashchange", seekLine);

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!log || !form.matches(".log-bar form")) return;
    event.preventDefault();           // the form asks the server, for those without script
    const number = Number(form.elements.goto?.value);
    if (number > 0) goToLine(number);
  });

  // ---- Search: the server reads the log, a part an answer; a page that is closed asks no further ---------

  const SEARCH_AFTER = 250;
  const MOST_HITS = 5000;
  let numbers = [];                   // of the lines found
  let current = -1;
  let asking = null;
  let typing = null;

  const hitsBox = () => byId("log-hits");
  const isWhole = () => "whole" in hitsBox().dataset;

  function readHits() {
    asking?.abort();
    numbers = all("[data-hit]", hitsBox()).map((link) => Number(link.dataset.hit));
    current = -1;
    if (findBox().value.trim()) paintHits();
  }

  async function search() {
    asking?.abort();
    asking = new AbortController();
    const { signal } = asking;
    numbers = [];
    current = -1;
    markHits(all(".ln", log));
    hitsBox().hidden = true;
    history.replaceState(null, "", addressOf({}));
    if (!findBox().value.trim()) return paintHits();
    try {
      hitsBox().replaceWith(await ask("hits", addressOf({}), signal));
      numbers = all("[data-hit]", hitsBox()).map((link) => Number(link.dataset.hit));
      paintHits();
      // The first one that the page holds: nobody is taken away from what they read.
      const here = numbers.findIndex((number) => byId(`L${number}`));
      if (here >= 0) await goToHit(here);
      while (!isWhole() && numbers.length < 500) await searchOn(signal);
    } catch (error) {
      if (error.name !== "AbortError") throw error;
    }
  }

  // Returns whether there were more.
  async function searchOn(signal) {
    const box = hitsBox();
    const more = await ask("hits", addressOf({ from: box.dataset.next }), signal);
    box.dataset.next = more.dataset.next;
    box.toggleAttribute("data-whole", "whole" in more.dataset);
    const items = all("li", more).filter((item) => Number(item.firstElementChild.dataset.hit) > (numbers.at(-1) ?? 0));
    numbers.push(...items.map((item) => Number(item.firstElementChild.dataset.hit)));
    const list = box.querySelector("ol");
    if (list) list.append(...items); else box.replaceChildren(...more.children);
    if (list) box.querySelector("p")?.replaceWith(...all("p", more));
    paintHits();
    return items.length > 0;
  }

  function paintHits() {
    const find = findBox().value.trim();
    const many = `${numbers.length}${isWhole() ? "" : "+"}`;
    byId("hit-steps").hidden = !numbers.length;
    byId("find-count").textContent = !find ? "" : current >= 0 ? `${current + 1} of ${many}`
      : numbers.length || isWhole() ? `${many} ${many === "1" ? "line" : "lines"}` : `searched to line ${hitsBox().dataset.next}`;
  }

  async function step(by) {
    if (!numbers.length) return;
    const isLast = current === numbers.length - 1;
    // Behind the last one there may be more by now.
    if (by > 0 && isLast && numbers.length < MOST_HITS && await searchOn(asking?.signal)) return goToHit(current + 1);
    return goToHit((Math.max(current, by > 0 ? -1 : 0) + by + numbers.length) % numbers.length);
  }

  async function goToHit(index) {
    const number = numbers[index];
    // The last line may have no number yet.
    if (!byId(`L${number}`) && !await open(addressOf({ line: number, before: "" }))) return;
    for (const each of all("[aria-current]", section)) each.removeAttribute("aria-current");
    current = index;
    const line = byId(`L${number}`) ?? byId("log-partial");
    line.setAttribute("aria-current", "true");
    log.scrollTop = line.offsetTop - log.offsetTop - log.clientHeight / 2;
    const link = hitsBox().querySelector(`[data-hit="${number}"]`);
    link?.setAttribute("aria-current", "true");
    if (link) link.closest("ol").scrollTop = link.offsetTop - link.closest("ol").offsetTop;
    paintHits();
  }

  function markHits(lines) {
    const wanted = findBox()?.value.trim().toLowerCase();
    for (const line of lines) {
      const isHit = Boolean(wanted) && line.lastElementChild?.textContent.toLowerCase().includes(wanted);
      line.classList.toggle("is-hit", Boolean(isHit));
    }
    paintMatches(wanted);
  }

  // The text itself, where the browser can colour it without another element, and no colour of the log cuts it in two.
  function paintMatches(wanted) {
    if (!CSS.highlights) return;
    const found = [];
    for (const line of wanted ? all(".ln.is-hit > span", log) : []) {
      const texts = document.createTreeWalker(line, NodeFilter.SHOW_TEXT);
      while (texts.nextNode()) {
        const at = texts.currentNode.data.toLowerCase().indexOf(wanted);
        if (at < 0 || at + wanted.length > texts.currentNode.length) continue;
        const range = new StaticRange({ startContainer: texts.currentNode, startOffset: at,
          endContainer: texts.currentNode, endOffset: at + wanted.length });
        found.push(range);
      }
    }
    CSS.highlights.set("found", new Highlight(...found));
  }

  document.addEventListener("input", ({ target }) => {
    if (target !== findBox() || !log) return;
    clearTimeout(typing);
    typing = setTimeout(search, SEARCH_AFTER);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.target !== findBox() || !log) return;
    event.preventDefault();
    step(event.shiftKey ? -1 : 1);
  });
  document.addEventListener("click", (event) => {
    if (!log || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    const link = event.target.closest(".log-more, .log-more a, .log-hits a, [data-log]");
    if (!link || !section.contains(link)) return;
    if (link.dataset.log) return step(link.dataset.log === "next-hit" ? 1 : -1);
    if (!link.href) return;           // what stands around links
    event.preventDefault();
    if (link.dataset.hit) return goToHit(numbers.indexOf(Number(link.dataset.hit)));
    if (hitsBox().contains(link)) return searchOn(asking?.signal);
    const url = new URL(link.href);
    open(Object.assign(addressOf({ line: url.searchParams.get("line"), before: url.searchParams.get("before") }), { hash: url.hash }));
  });

  document.addEventListener("page:refreshed", watch);
  document.addEventListener("DOMContentLoaded", seekLine);
})();
