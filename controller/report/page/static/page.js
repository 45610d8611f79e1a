// Keeps the page up to date without loading it anew: waits for the daemon's word that something is new, asks for the part
// that changes, and changes no more of it than has changed. Focus, scroll position and selected text stay as they are.
'use strict';
(() => {
  const LOST_AFTER = 12; // seconds without a word; the daemon speaks every 5 s
  const AGAIN_AFTER = 3;
  const byId = (id) => document.getElementById(id);
  const main = () => byId('main');
  const started = performance.now() / 1000;
  const seconds = () => performance.now() / 1000;

  let etag = document.body.dataset.etag;
  let offset = Number(document.body.dataset.now) - started; // the daemon's clock, not ours
  let heard = started; // when the daemon last spoke
  let lost = false;
  let paused = document.body.dataset.refresh === '0';
  let stream = null;
  let asking = false;
  let wanted = false; // something is new, and not shown yet
  let retry = 0;

  // --- time: ages run on between two updates

  function age(past) {
    const s = Math.max(0, Math.floor(past));
    if (s < 60) return `${s}s`;
    if (s < 3600) return `${Math.floor(s / 60)}m${String(s % 60).padStart(2, '0')}s`;
    if (s < 86400) return `${Math.floor(s / 3600)}h${String(Math.floor((s % 3600) / 60)).padStart(2, '0')}m`;
    return `${Math.floor(s / 86400)}d${String(Math.floor((s % 86400) / 3600)).padStart(2, '0')}h`;
  }

  function ages(root) {
    const now = seconds() + offset;
    for (const time of root.querySelectorAll('time[data-at]')) {
      const past = now - Number(time.dataset.at);
      const text = `${age(past)}${time.dataset.after ?? ' ago'}`;
      if (time.firstChild?.data !== text) time.textContent = text;
      if (!time.title) time.title = time.dateTime;
      if (time.dataset.old) time.classList.toggle('old', past > Number(time.dataset.old));
    }
  }

  // --- changing as little as possible

  const keyOf = (node) => (node.nodeType === 1 ? node.id || node.dataset.key : '') || '';

  function attributes(was, now) {
    for (const { name, value } of now.attributes) {
      if (was.getAttribute(name) !== value) was.setAttribute(name, value);
    }
    for (const { name } of [...was.attributes]) {
      const ours = (name === 'open' && was.tagName === 'DETAILS') || (name === 'title' && was.tagName === 'TIME');
      if (!ours && !now.hasAttribute(name)) was.removeAttribute(name);
    }
  }

  function morph(was, now) {
    if (was.isEqualNode(now)) return;
    attributes(was, now);
    const keyed = new Map();
    for (const child of was.children) if (keyOf(child)) keyed.set(keyOf(child), child);
    let at = was.firstChild;
    for (const next of [...now.childNodes]) {
      const key = keyOf(next);
      const alike = at && !keyOf(at) && at.nodeName === next.nodeName ? at : null;
      const found = key ? keyed.get(key) : alike;
      if (!found || found.nodeName !== next.nodeName) {
        was.insertBefore(next, at);
        continue;
      }
      keyed.delete(key);
      if (found === at) at = at.nextSibling;
      else was.insertBefore(found, at);
      if (found.nodeType === 1) morph(found, next);
      else if (found.data !== next.data) found.data = next.data;
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  }

  const selecting = () => {
    const chosen = getSelection();
    return chosen.type === 'Range' && main().contains(chosen.anchorNode);
  };

  function take(text) {
    const fresh = new DOMParser().parseFromString(text, 'text/html').getElementById('main');
    if (!fresh) return;
    if (fresh.dataset.assets !== main().dataset.assets) {
      location.reload(); // another version of Drover answers
      return;
    }
    ages(fresh);
    const focused = document.activeElement;
    const news = main().dataset.news;
    morph(main(), fresh);
    if (focused?.isConnected && focused !== document.activeElement) focused.focus({ preventScroll: true });
    if (main().dataset.news !== news) byId('announce').textContent = main().dataset.news;
    if (main().dataset.tone) document.body.dataset.tone = main().dataset.tone;
  }

  // --- asking

  async function look() {
    if (asking || paused || selecting()) {
      wanted = true;
      return;
    }
    asking = true;
    wanted = false;
    try {
      const answer = await fetch(location.href, {
        headers: { 'Drover-Part': 'main', 'If-None-Match': `"${etag}"` },
        cache: 'no-store',
        credentials: 'same-origin',
      });
      if (answer.redirected || answer.status === 401) location.assign('/login');
      else if (answer.status === 200) {
        const text = await answer.text();
        take(text);
        etag = (answer.headers.get('ETag') ?? '').replaceAll('"', '');
      }
      if (answer.status === 200 || answer.status === 304) hear();
    } catch {
      wanted = true; // the stream says when it is back
    }
    asking = false;
    tell();
  }

  function hear(now) {
    heard = seconds();
    if (now !== undefined) offset = now - heard;
    if (lost) {
      lost = false;
      byId('announce').textContent = 'Connected again.';
    }
  }

  function open() {
    if (stream || paused || document.hidden) return;
    stream = new EventSource('/live');
    stream.addEventListener('beat', (event) => {
      hear(JSON.parse(event.data).now);
      if (wanted) look();
      tell();
    });
    stream.addEventListener('news', (event) => {
      hear(JSON.parse(event.data).now);
      look();
    });
    stream.addEventListener('error', () => {
      // Where an answer was no stream, a browser gives up for good.
      if (stream?.readyState === EventSource.CLOSED) close();
      retry = seconds() + AGAIN_AFTER;
    });
  }

  function close() {
    stream?.close();
    stream = null;
  }

  // --- what the head of the page says

  function tell() {
    const silent = seconds() - heard;
    const state = paused ? 'paused' : silent > LOST_AFTER ? 'lost' : 'live';
    if (state === 'lost' && !lost) {
      lost = true;
      byId('announce').textContent = 'Connection to Drover lost; what is shown is getting old.';
    }
    document.body.dataset.connection = state;
    const words = {
      live: wanted && selecting() ? 'waiting while text is selected' : 'live',
      paused: `paused ${age(silent)} ago`,
      lost: `last update ${age(silent)} ago, reconnecting`,
    };
    const text = words[state];
    if (byId('heard').textContent !== text) byId('heard').textContent = text;
  }

  function pause(on) {
    paused = on;
    const button = byId('pause');
    button.textContent = paused ? 'Resume' : 'Pause';
    button.setAttribute('aria-label', paused ? 'Resume live updates' : 'Pause live updates');
    if (paused) close();
    else {
      hear();
      open();
      look();
    }
    tell();
  }

  function start() {
    const button = byId('pause');
    if (!button) return; // the page that asks for the token
    button.hidden = false;
    button.addEventListener('click', () => pause(!paused));
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) close();
      else {
        heard = seconds();
        open();
      }
      tell();
    });
    document.addEventListener('selectionchange', () => {
      if (wanted && !selecting()) look();
    });
    document.addEventListener('change', (event) => {
      if (event.target.form?.dataset.apply !== undefined) event.target.form.requestSubmit();
    });
    setInterval(() => {
      ages(main());
      if (!document.hidden && !paused && !stream && seconds() > retry) open();
      if (!document.hidden) tell();
    }, 1000);
    ages(main());
    if (paused) pause(true);
    else open();
    tell();
  }

  start();
})();
