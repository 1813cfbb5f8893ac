// The cases that every client plays, `client/cases`, in Node and in headless Chromium.

import { readFile, readdir } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { ok, rejects } from 'node:assert/strict';

import * as strongroom from '../dist/node.js';
import { Page, found } from './browser.js';
import { play } from './cases.js';
import { startPages } from './pages.js';
import { startCasesRealm } from './realm.js';

const FOLDER = new URL('../../cases/', import.meta.url);
const names = (await readdir(FOLDER)).filter((name) => name.endsWith('.json'));

let realms, pages, page;

before(async () => {
    realms = await startCasesRealm();
    // It listens at addresses that the configurations name, all of this machine.
    pages = await startPages('http://127.0.0.1:*');
    page = await Page.open(await found(), pages.url);
});

after(async () => {
    await page?.close();
    pages?.end();
    await realms?.end();
});

test('there are cases', () => ok(names.length > 0));

for (const name of names) {
    test(`${name} in Node`, async () => play(strongroom, realms.control, await readFile(new URL(name, FOLDER), 'utf8')));

    test(`${name} in Chromium`, async () => {
        const text = await readFile(new URL(name, FOLDER), 'utf8');
        await page.evaluate(`(async () => {
            const [strongroom, { play }] = await Promise.all([import('/dist/browser.js'), import('/test/cases.js')]);
            await play(strongroom, ${JSON.stringify(realms.control)}, ${JSON.stringify(text)});
        })()`);
    });
}

test('a client that does not do what a case says is noticed', async () => {
    const text = await readFile(new URL('wrong-pin.json', FOLDER), 'utf8');
    const wrong = text.replace('"guessesRemaining": 1', '"guessesRemaining": 7');
    ok(wrong !== text);
    await rejects(play(strongroom, realms.control, wrong), /step 2/);
});
