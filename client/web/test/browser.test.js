// The package in headless Chromium, from a page of another origin than the realm, and the page that `strongroom-sim serve` shows.

import { writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { deepEqual, equal, match } from 'node:assert/strict';

import { Page, found } from './browser.js';
import { startPages } from './pages.js';
import { startRealm } from './realm.js';
import { scenario } from './scenario.js';

let program, realm, pages, page;

before(async () => {
    program = await found();
    realm = await startRealm();
    pages = await startPages(realm.address);
    page = await Page.open(program, pages.url);
});

after(async () => {
    await page?.close();
    pages?.end();
    await realm?.end();
});

for (const name of Object.keys(scenario)) {
    test(name, async () => {
        const tokens = await realm.token(name.replaceAll(' ', '-'));
        const check = async (name, configuration, tokens) => {
            const [strongroom, { scenario }] = await Promise.all([import('/dist/browser.js'), import('/test/scenario.js')]);
            await scenario[name](strongroom, configuration, tokens);
        };
        await page.evaluate(`(${check})(${[name, realm.fast, tokens].map((of) => JSON.stringify(of))})`);
    });
}

test('the browser has nothing to complain about', () => deepEqual(page.complaints, []));

test('the page of a local realm registers, counts guesses, recovers, and shows what is sent', async () => {
    const app = await Page.open(program, realm.app);
    try {
        await app.until('document.documentElement.dataset.ready');
        const press = async (name, pin) => {
            await app.evaluate(`document.getElementById('pin').value = ${JSON.stringify(pin)}`);
            await app.evaluate(`document.querySelector('button[value=${name}]').click()`);
            await app.until(`document.getElementById('form').getAttribute('aria-busy') === 'false'`);
            return app.evaluate(`document.getElementById('outcome').innerText`);
        };
        match(await press('status', '4821'), /Nothing is registered/);
        const type = async (pin) => {
            const typed = `const pin = document.getElementById('pin'); pin.value = ${JSON.stringify(pin)}; pin.dispatchEvent(new Event('input'))`;
            await app.evaluate(`{ document.getElementById('pin-hint').textContent = 'waits'; ${typed} }`);
            await app.until(`document.getElementById('pin-hint').textContent !== 'waits'`);
            return app.evaluate(`document.getElementById('pin-hint').textContent`);
        };
        match(await type('1234'), /most people choose/);
        match(await type('1357'), /Easily guessed/);
        match(await type('４８２１'), /digits 0 to 9/);
        equal(await type('4821'), '');
        match(await press('register', '4821'), /Registered/);
        match(await press('recover', '0000'), /2 guesses are left.*Guesses left: 2/s);
        match(await press('recover', '4821'), /Recovered: correct horse battery staple/);
        const steps = `[...document.querySelectorAll('#wire th')].map((name) => name.textContent)`;
        const sent = await app.evaluate(steps);
        deepEqual([...new Set(sent)], ['Recover1', 'Stretch', 'Recover2', 'Recover3']);
        equal(await app.evaluate(`document.querySelectorAll('input:not([id]), button:empty, [tabindex="-1"]').length`), 0);
        if (process.env.STRONGROOM_PICTURE) {
            await press('recover', '0000');
            await writeFile(process.env.STRONGROOM_PICTURE, await app.picture());
        }
        match(await press('delete', '4821'), /Deleted/);
        deepEqual(app.complaints, []);
    } finally {
        await app.close();
    }
});
