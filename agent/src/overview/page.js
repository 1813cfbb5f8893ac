'use strict';
(() => {
  // Seconds between questions, and after how many without a new look the page says that it is old.
  const ask = 2, old = 7;
  const root = document.documentElement;
  const words = document.getElementById('stale-words');
  let look = root.dataset.look, seen = performance.now(), updates = 0, failed = '';
  const say = () => {
    const age = Math.round((performance.now() - seen) / 1000);
    const stale = age >= old;
    root.dataset.live = stale ? 'stale' : 'live';
    if (stale) {
      words.textContent = `OLD: nothing new for ${age} s${failed}. What is below was true then.`;
      document.title = `OLD: ${root.dataset.title}`;
    } else {
      document.title = root.dataset.title;
    }
  };
  const take = (text) => {
    const page = new DOMParser().parseFromString(text, 'text/html');
    const next = page.documentElement.dataset;
    if (!next.look) throw new Error('no status page');
    if (next.look !== look) {
      look = next.look;
      seen = performance.now();
      root.dataset.look = look;
      root.dataset.title = next.title;
      root.className = page.documentElement.className;
      // Only what has changed: a reader keeps its place, and a selection stays.
      for (const part of page.querySelectorAll('[data-part]')) {
        const here = document.getElementById(part.id);
        if (here && here.innerHTML !== part.innerHTML) here.replaceChildren(...part.childNodes);
      }
      updates += 1;
      root.dataset.updates = String(updates);
    }
  };
  const again = async () => {
    try {
      const answer = await fetch('/status', { signal: AbortSignal.timeout(5000), cache: 'no-store' });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      take(await answer.text());
      failed = '';
    } catch {
      failed = ', the agent does not answer';
    }
    say();
    setTimeout(again, ask * 1000);
  };
  say();
  setTimeout(again, ask * 1000);
  setInterval(say, 1000);
})();
