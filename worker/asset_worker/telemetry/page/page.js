// Keeps the page up to date: fetches it again, and changes only what is different, so that nothing moves or flickers.
"use strict";
(() => {
  const root = document.documentElement;
  const interval = Number(root.dataset.refresh) * 1000;
  const hiddenInterval = 6 * interval;
  const patience = 4000;
  const name = document.title.split(" – ").pop();
  const silence = document.getElementById("silence");
  let answeredAt = Date.now();
  let trouble = "";

  function update(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
      old.replaceWith(fresh);
    } else if (old.nodeType !== Node.ELEMENT_NODE) {
      old.data = fresh.data;
    } else {
      updateAttributes(old, fresh);
      updateChildren(old, fresh);
    }
  }

  function updateAttributes(old, fresh) {
    for (const { name, value } of [...fresh.attributes]) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name); // what a person has opened stays so
    }
  }

  // Elements with an id are the same ones wherever they stand; all others are by their place.
  function updateChildren(old, fresh) {
    let at = old.firstChild;
    for (const wanted of [...fresh.childNodes]) {
      const same = wanted.id ? [...old.children].find((child) => child.id === wanted.id) : undefined;
      if (same) {
        if (same !== at) old.insertBefore(same, at);
        at = same.nextSibling;
        update(same, wanted);
      } else if (!at || at.id || wanted.id) {
        old.insertBefore(wanted, at);
      } else {
        const next = at.nextSibling;
        update(at, wanted);
        at = next;
      }
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  function words(milliseconds) {
    const seconds = Math.max(0, Math.round(milliseconds / 1000));
    if (seconds < 60) return `${seconds}\u00a0s`;
    return seconds < 3600 ? `${Math.floor(seconds / 60)}\u00a0min` : `${Math.floor(seconds / 3600)}\u00a0h`;
  }

  function show(id, text) {
    const element = document.getElementById(id);
    if (element && element.textContent !== text) element.textContent = text;
  }

  function showAge() {
    const age = Date.now() - answeredAt;
    show("fresh", ` (${words(age)} ago); refreshed every ${interval / 1000}\u00a0s`);
    if (trouble) {
      show("silence-text", `${trouble} since ${document.getElementById("made-at").textContent}`);
      show("silence-age", `(for ${words(age)}).`); // apart from the text, which is read out once and not each second
    }
    silence.hidden = !trouble;
  }

  function setIcon(href) {
    const icon = document.getElementById("icon");
    if (icon.getAttribute("href") !== href) icon.setAttribute("href", href);
  }

  function take(text) {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    if (!fresh.getElementById("content")) throw new Error("The answer is not this page");
    if (fresh.documentElement.dataset.version !== root.dataset.version) {
      location.reload(); // another version was started: its page may have another form
      return;
    }
    for (const id of ["top", "made-at", "content", "about"]) {
      update(document.getElementById(id), fresh.getElementById(id));
    }
    document.title = fresh.title;
    setIcon(fresh.getElementById("icon").getAttribute("href"));
    answeredAt = Date.now();
    trouble = "";
  }

  async function refresh() {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), patience);
    try {
      const headers = { "X-Refresh": "1" }; // without it, a refused token would open a dialog each time
      const answer = await fetch(location.pathname, { cache: "no-store", headers, signal: abort.signal });
      if (answer.status === 401 || answer.status === 403) {
        trouble = "The token is not accepted any more: reload the page, and give another. Not refreshed";
      } else if (!answer.ok) {
        trouble = `The worker answers with an error (HTTP ${answer.status}). Not refreshed`;
      } else {
        take(await answer.text());
      }
    } catch {
      trouble = "The worker does not answer";
    } finally {
      clearTimeout(timer);
    }
    if (trouble) {
      document.title = `✕ no answer – ${name}`;
      setIcon("page/problem.svg");
    }
    showAge();
  }

  // One request at a time: an answer that comes late must not take the place of a newer one.
  let waiting;
  let isAsking = false;
  async function loop() {
    if (isAsking) return;
    isAsking = true;
    clearTimeout(waiting);
    await refresh();
    waiting = setTimeout(loop, document.hidden ? hiddenInterval : interval);
    isAsking = false;
  }

  document.addEventListener("visibilitychange", () => { if (!document.hidden) loop(); });
  setInterval(showAge, 1000);
  showAge();
  waiting = setTimeout(loop, interval);
})();
