// The package in Node, against a local realm: `node --test client/web/test/node.test.js`, once it is built.

import { after, before, test } from 'node:test';

import * as strongroom from '../dist/node.js';
import { startRealm } from './realm.js';
import { scenario } from './scenario.js';

let realm;

before(async () => {
    realm = await startRealm();
});

after(() => realm.end());

for (const [name, check] of Object.entries(scenario)) {
    test(name, async () => check(strongroom, realm.fast, await realm.token(name.replaceAll(' ', '-'))));
}
